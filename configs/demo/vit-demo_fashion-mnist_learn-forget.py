# What `make demo` runs: a small ViT that knows seven classes of Fashion-MNIST learns three more and
# forgets two. About a minute on two CPU cores.
_base_ = [
    '../_base_/swap_runtime.py',
    '../classification/_base_/vit_fashion.py',
    '../classification/_base_/fashion_mnist.py',
]
default_scope = 'mmpretrain'
model = dict(
    host=dict(
        backbone=dict(
            arch=dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384),
            patch_size=7,
        )
    ),
    head=dict(policy='all'),
)
load_from = 'weights/vit-demo_7cls.safetensors'
swap = dict(
    recipe='auto',
    order='learn-forget',
    classes=dict(
        old=['t-shirt', 'trouser', 'pullover', 'dress', 'coat', 'sandal', 'shirt'],
        learn=['sneaker', 'bag', 'boot'],
        forget=['trouser', 'sandal'],
    ),
)
default_hooks = dict(logger=dict(interval=25))
