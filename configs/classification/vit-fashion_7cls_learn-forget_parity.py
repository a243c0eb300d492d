# The official recipe on Fashion-MNIST, learn before forget.
_base_ = [
    '../_base_/swap_runtime.py',
    './_base_/vit_fashion.py',
    './_base_/fashion_mnist.py',
    './_base_/swap_parity.py',
]
default_scope = 'mmpretrain'
swap = dict(
    order='learn-forget',
    classes=dict(
        old=['t-shirt', 'trouser', 'pullover', 'dress', 'coat', 'sandal', 'shirt'],
        learn=['sneaker', 'bag', 'boot'],
        forget=['trouser', 'sandal'],
    ),
)
