# Baseline and reference of audits: the small Mask2Former from random weights, all of it, on the retained and the learned
# classes. It never sees an image with a triangle, a star or a heart; their rows stay in the head, so that the labels
# are those of the swap. Textures keep their labels in images to learn. Data:
# python tools/dataset_converters/shape_scenes.py
_base_ = ['../mask2former-mini_shapes_learn-forget.py']
model = dict(
    type='knowswap_mm.FullTrainingSwapper',
    lora=None,
    loss=dict(type='knowswap_mm.WeightedSumLoss'),
)
load_from = None
swap = dict(
    order='learn',
    allow_random_host=True,
    phase_settings=dict(
        learn=dict(
            iters=3000,
            split=dict(learn=12, retain=20),
            weights=dict(learn=1.0, retain=1.0, sparsity=0.0),
        )
    ),
)
train_dataloader = dict(
    batch_size=32, num_workers=4, dataset=dict(roles=dict(learn=dict(mixed='keep')))
)
optim_wrapper = dict(optimizer=dict(lr=4e-4), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=200),
    dict(type='CosineAnnealingLR', begin=200, eta_min_ratio=0.02),
]
