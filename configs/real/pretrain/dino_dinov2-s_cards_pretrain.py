# DINO for six playing cards; its DINOv2 ViT-S/14 trains, too, at a tenth of the learning rate. Every eighth training
# photo says when it is converged; the test photos are read once, at the end. Cards are not mirrored: they have letters.
_base_ = ['../_base_/pretrain.py', '../_base_/dino_host.py']
default_scope = 'mmdet'
custom_imports = dict(
    imports=['knowswap_mm', 'mmpretrain.models', 'mmseg.models'], allow_failed_imports=False
)
model = _base_.dino
model['backbone']['init_cfg'] = _base_.dinov2_weights
card_classes = ['ace', 'jack', 'king', 'nine', 'queen', 'ten']
held_out = list(range(0, 296, 8))
cards = dict(
    type='CocoDataset',
    data_root='data/real/cards/',
    metainfo=dict(classes=card_classes),
)
load = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(448, 448), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances'),
    ),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        **cards,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        indices=[number for number in range(296) if number not in held_out],
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='RandomCrop', crop_type='relative_range', crop_size=(0.7, 0.7)),
            dict(type='RandomResize', scale=(448, 448), ratio_range=(0.6, 1.0), keep_ratio=True),
            dict(type='PhotoMetricDistortion'),
            dict(type='PackDetInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **cards,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        indices=held_out,
        test_mode=True,
        pipeline=load,
    ),
)
test_dataloader = dict(
    batch_size=16,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **cards,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        test_mode=True,
        pipeline=load,
    ),
)
val_evaluator = test_evaluator = dict(type='CocoMetric', metric='bbox')
train_cfg = dict(max_iters=1600, val_interval=200)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-4, weight_decay=1e-4),
    clip_grad=dict(max_norm=0.1, norm_type=2),
    paramwise_cfg=dict(
        custom_keys=dict(backbone=dict(lr_mult=0.1), sampling_offsets=dict(lr_mult=0.1))
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=100, end=1600, eta_min_ratio=0.01),
]
