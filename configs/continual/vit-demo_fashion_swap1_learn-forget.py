# The first of three swaps in a row: learns sneaker and forgets trouser.
_base_ = ['../demo/vit-demo_fashion-mnist_learn-forget.py']
model = dict(host=dict(head=dict(num_classes=8)), head=dict(old_classes=7))
swap = dict(
    classes=dict(
        old=['t-shirt', 'trouser', 'pullover', 'dress', 'coat', 'sandal', 'shirt'],
        learn=['sneaker'],
        forget=['trouser'],
        retain=['t-shirt', 'pullover', 'dress', 'coat', 'sandal', 'shirt'],
    )
)
