# The third of three swaps in a row: learns boot and forgets sandal. Trouser and sneaker were forgotten
# before and play no role.
_base_ = ['../demo/vit-demo_fashion-mnist_learn-forget.py']
model = dict(host=dict(head=dict(num_classes=10)), head=dict(old_classes=9))
load_from = 'work_dirs/continual/swap2/exported/model.pth'
swap = dict(
    classes=dict(
        old=[
            't-shirt',
            'trouser',
            'pullover',
            'dress',
            'coat',
            'sandal',
            'shirt',
            'sneaker',
            'bag',
        ],
        learn=['boot'],
        forget=['sandal'],
        retain=['t-shirt', 'pullover', 'dress', 'coat', 'shirt', 'bag'],
    )
)
