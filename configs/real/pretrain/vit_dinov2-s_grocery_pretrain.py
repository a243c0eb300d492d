# A linear head for 30 fruits on the frozen DINOv2 ViT-S/14. A tenth of the training photos, drawn by chance, says when
# it is converged; the test photos are read once, at the end. Data: docs/real.md
_base_ = ['../_base_/pretrain.py', '../_base_/dinov2_small.py']
default_scope = 'mmpretrain'
custom_imports = dict(imports=['knowswap_mm'], allow_failed_imports=False)
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(type='ClsDataPreprocessor', to_rgb=True, **_base_.imagenet),
    backbone=dict(**_base_.dinov2_small, frozen_stages=12, init_cfg=_base_.dinov2_weights),
    neck=None,
    head=dict(
        type='VisionTransformerClsHead',
        num_classes=30,
        in_channels=384,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
load = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=196, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=196),
    dict(type='PackInputs'),
]
augment = [
    dict(type='LoadImageFromFile'),
    dict(
        type='RandomResizedCrop',
        scale=196,
        crop_ratio_range=(0.4, 1.0),
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackInputs'),
]
photos = dict(type='CustomDataset', data_root='data/real/grocery/old/', data_prefix='train')
split = dict(type='KFoldDataset', num_splits=10, seed=0)
collate = dict(type='default_collate')
train_dataloader = dict(
    batch_size=64,
    num_workers=3,
    persistent_workers=True,
    collate_fn=collate,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(**split, dataset=dict(**photos, pipeline=augment)),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=2,
    persistent_workers=True,
    collate_fn=collate,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**split, test_mode=True, dataset=dict(**photos, pipeline=load)),
)
test_dataloader = dict(
    batch_size=128,
    num_workers=2,
    collate_fn=collate,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CustomDataset', data_root='data/real/grocery/old/', data_prefix='test', pipeline=load
    ),
)
val_evaluator = test_evaluator = dict(type='Accuracy', topk=(1,))
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=1000, eta_min_ratio=0.01),
]
