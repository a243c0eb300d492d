# The small ViT on Fashion-MNIST, with the recipe of all swaps here.
_base_ = [
    '../_base_/swap_runtime.py',
    '../classification/_base_/vit_fashion.py',
    '../classification/_base_/fashion_mnist.py',
    './_base_/recipe.py',
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
model = dict(head=dict(policy='all'))
