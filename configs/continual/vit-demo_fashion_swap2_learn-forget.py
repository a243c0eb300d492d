# The second of three swaps in a row: learns bag and forgets sneaker, which the first learned. Trouser,
# which the first forgot, keeps its row in the head and plays no role.
_base_ = ['../demo/vit-demo_fashion-mnist_learn-forget.py']
model = dict(host=dict(head=dict(num_classes=9)), head=dict(old_classes=8))
load_from = 'work_dirs/continual/swap1/exported/model.pth'
swap = dict(
    classes=dict(
        old=['t-shirt', 'trouser', 'pullover', 'dress', 'coat', 'sandal', 'shirt', 'sneaker'],
        learn=['bag'],
        forget=['sneaker'],
        retain=['t-shirt', 'pullover', 'dress', 'coat', 'sandal', 'shirt'],
    )
)
