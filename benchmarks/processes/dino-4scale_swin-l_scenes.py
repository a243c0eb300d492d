# DINO with Swin-L on scenes of shapes as large as COCO's images, random weights, one learn phase.
_base_ = [
    '../../configs/_base_/swap_runtime.py',
    '../../configs/detection/_base_/dino-4scale_swin-l.py',
    '../../configs/detection/_base_/shape_scenes.py',
]
default_scope = 'mmdet'
custom_imports = dict(
    imports=['knowswap_mm', 'benchmarks.processes.rank_digest_hook'], allow_failed_imports=False
)
custom_hooks = [dict(type='knowswap_mm.RankDigestHook')]
load_from = None
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(1216, 800), keep_ratio=False),
    dict(type='RandomFlip', prob=0.5, direction=['horizontal']),
    dict(type='PackDetInputs'),
]
model = dict(host=dict(bbox_head=dict(num_classes=16)), head=dict(old_classes=12))
swap = dict(
    order='learn',
    allow_random_host=True,
    classes=dict(
        old=[
            'disc',
            'ring',
            'half-disc',
            'crescent',
            'triangle',
            'square',
            'bar',
            'cross',
            'star',
            'heart',
            'arrow',
            'l-shape',
        ],  # fmt: skip
        learn=['t-shape', 'u-shape', 'hourglass', 'zigzag'],
        forget=['triangle', 'star', 'heart'],
    ),
)
train_dataloader = dict(
    batch_size=4,
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
