# Baseline and reference of audits: the small DINO from random weights, all of it, with the recipe of its pretraining, on
# the retained and the learned classes. It never sees an image with a triangle, a star or a heart; their rows stay in
# the head, so that the labels are those of the swap. Data: python tools/dataset_converters/shape_scenes.py
_base_ = ['../dino-mini_shapes_learn-forget.py']
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
            iters=5000,
            split=dict(learn=6, retain=10),
            weights=dict(learn=1.0, retain=1.0, sparsity=0.0),
        )
    ),
)
train_dataloader = dict(num_workers=2)
optim_wrapper = dict(
    optimizer=dict(lr=4e-4),
    paramwise_cfg=dict(custom_keys=dict(sampling_offsets=dict(lr_mult=0.1))),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=200),
    dict(type='CosineAnnealingLR', begin=200, eta_min_ratio=0.02),
]
