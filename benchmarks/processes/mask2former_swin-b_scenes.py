# Mask2Former with Swin-B on scenes of shapes of 640 px, random weights, one learn phase.
_base_ = [
    '../../configs/_base_/swap_runtime.py',
    '../../configs/segmentation/_base_/mask2former_swin-b.py',
    '../../configs/segmentation/_base_/shape_scenes.py',
]
default_scope = 'mmseg'
custom_imports = dict(
    imports=['knowswap_mm', 'mmdet.models', 'benchmarks.processes.rank_digest_hook'],
    allow_failed_imports=False,
)
custom_hooks = [dict(type='knowswap_mm.RankDigestHook')]
load_from = None
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='Resize', scale=(640, 640), keep_ratio=False),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
classes_in_all = 20
model = dict(
    host=dict(
        decode_head=dict(
            num_classes=20,
            loss_cls=dict(class_weight=[1.0] * 20 + [0.1]),
        ),
    ),
    head=dict(old_classes=16),
)
swap = dict(
    order='learn',
    allow_random_host=True,
    classes=dict(
        old=_base_.old_classes,
        learn=['t-shape', 'u-shape', 'hourglass', 'zigzag'],
        forget=['triangle', 'star', 'heart'],
    ),
)
train_dataloader = dict(
    batch_size=12,
    num_workers=8,
    dataset=dict(
        roles=dict(
            learn=dict(dataset=dict(pipeline=pipeline)),
            forget=dict(dataset=dict(pipeline=pipeline)),
            retain=dict(dataset=dict(pipeline=pipeline)),
        )
    ),
)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4),
    clip_grad=dict(max_norm=0.1, norm_type=2),
)
val_cfg = val_dataloader = val_evaluator = None
test_cfg = test_dataloader = test_evaluator = None
