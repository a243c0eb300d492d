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
    order='learn-forget',
    guard=False,  # the documented figures were recorded without it
    classes=dict(
        old=['t-shirt', 'trouser', 'pullover', 'dress', 'coat', 'sandal', 'shirt'],
        learn=['sneaker', 'bag', 'boot'],
        forget=['trouser', 'sandal'],
    ),
    phase_settings=dict(
        learn=dict(iters=150, weights=dict(learn=1.0, retain=0.2, sparsity=0.005)),
        forget=dict(
            iters=150,
            weights=dict(retain=1.0, forget=0.2, sparsity=0.005),
            bound=105.0,
            merged_share=0.3,
        ),
    ),
)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-2, weight_decay=0.05))
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=1e-5)]
default_hooks = dict(logger=dict(interval=25))
