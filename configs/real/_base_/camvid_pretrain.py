# CamVid without cars and bicyclists, which are unlabelled, for the hosts. Data: docs/real.md
_base_ = ['./pretrain.py']
default_scope = 'mmseg'
old_classes = [
    'sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'pedestrian',
]  # fmt: skip
scenes = dict(
    type='BaseSegDataset',
    data_root='data/real/camvid_old/',
    img_suffix='.png',
    metainfo=dict(classes=old_classes),
)
load = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(392, 294), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=3,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        **scenes,
        data_prefix=dict(img_path='train/images', seg_map_path='train/annotations'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='RandomResize', scale=(392, 294), ratio_range=(0.75, 1.75), keep_ratio=True),
            dict(type='RandomCrop', crop_size=(294, 392), cat_max_ratio=0.75),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PhotoMetricDistortion'),
            dict(type='PackSegInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **scenes,
        data_prefix=dict(img_path='val/images', seg_map_path='val/annotations'),
        test_mode=True,
        pipeline=load,
    ),
)
test_dataloader = dict(
    batch_size=16,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **scenes,
        data_prefix=dict(img_path='test/images', seg_map_path='test/annotations'),
        test_mode=True,
        pipeline=load,
    ),
)
val_evaluator = test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-4, weight_decay=0.01),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=1000, eta_min_ratio=0.01),
]
