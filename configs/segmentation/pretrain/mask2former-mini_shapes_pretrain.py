# Trains the small Mask2Former on scenes of twelve shapes and four textures, with mmseg's own train tool. Its Swin
# starts from the small detector's (tools/model_converters/extract_backbone.py). Data:
# python tools/dataset_converters/shape_scenes.py
_base_ = ['../../_base_/default_runtime.py', '../_base_/mask2former_mini_host.py']
default_scope = 'mmseg'
custom_imports = dict(imports=['mmdet.models'], allow_failed_imports=False)
model = _base_.mask2former_mini
model['backbone']['init_cfg'] = dict(type='Pretrained', checkpoint='work_dirs/dino-mini_swin.pth')
data_root = 'data/shape_scenes/old/'
old_classes = [
    'disc', 'ring', 'half-disc', 'crescent', 'triangle', 'square', 'bar', 'cross',
    'star', 'heart', 'arrow', 'l-shape', 'gradient', 'stripes', 'checker', 'clouds',
]  # fmt: skip
train_dataloader = dict(
    batch_size=16,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='BaseSegDataset',
        data_root=data_root,
        data_prefix=dict(img_path='train', seg_map_path='semantic/train'),
        img_suffix='.png',
        reduce_zero_label=True,
        metainfo=dict(classes=old_classes),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackSegInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=50,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='BaseSegDataset',
        data_root=data_root,
        data_prefix=dict(img_path='val', seg_map_path='semantic/val'),
        img_suffix='.png',
        reduce_zero_label=True,
        metainfo=dict(classes=old_classes),
        test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
    ),
)
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_dataloader, test_evaluator = val_dataloader, val_evaluator
iterations = 2800
train_cfg = dict(type='IterBasedTrainLoop', max_iters=iterations, val_interval=700)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=4e-4, weight_decay=1e-4),
    clip_grad=dict(max_norm=1.0, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=200),
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        begin=200,
        end=iterations,
        T_max=iterations - 200,
        eta_min_ratio=0.02,
    ),
]
default_hooks = dict(
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=700, max_keep_ckpts=1)
)
log_processor = dict(by_epoch=False, window_size=50)
