# Photos of playing cards in the forget and retain roles, microscope images of blood (BCCD) in the learn role, with at
# most 448 px a side. Cards have no validation images: `val` of both is what their publishers test on. Data: docs/real.md
_base_ = [
    '../../_base_/swap_runtime.py',
    '../../detection/_base_/evaluation.py',
    './recipe.py',
]
default_scope = 'mmdet'
val_evaluator = dict(metric=dict(classwise=True))
card_classes = ['ace', 'jack', 'king', 'nine', 'queen', 'ten']
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomResize', scale=(448, 448), ratio_range=(0.8, 1.0), keep_ratio=True),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(448, 448), keep_ratio=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
old_train = dict(
    type='CocoDataset',
    data_root='data/real/cards/',
    ann_file='annotations/instances_train.json',
    data_prefix=dict(img='train/'),
    pipeline=train_pipeline,
)
new_train = dict(
    type='CocoDataset',
    data_root='data/real/bccd/',
    ann_file='annotations/instances_train.json',
    data_prefix=dict(img='train/'),
    pipeline=train_pipeline,
)
old_test = dict(
    type='CocoDataset',
    data_root='data/real/cards/',
    ann_file='annotations/instances_val.json',
    data_prefix=dict(img='val/'),
    test_mode=True,
    pipeline=test_pipeline,
)
new_test = dict(
    type='CocoDataset',
    data_root='data/real/bccd/',
    ann_file='annotations/instances_test.json',
    data_prefix=dict(img='test/'),
    test_mode=True,
    pipeline=test_pipeline,
)
train_dataloader = dict(
    batch_size=16,
    num_workers=2,
    persistent_workers=True,
    pin_memory=True,
    dataset=dict(
        type='knowswap_mm.RoleDataset',
        view='knowswap_mm.CocoRoleView',
        cache=dict(size='1GB'),
        roles=dict(
            learn=dict(dataset=new_train),
            forget=dict(dataset=old_train),
            retain=dict(dataset=old_train),
        ),
    ),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='knowswap_mm.RoleDataset',
        view='knowswap_mm.CocoRoleView',
        roles=dict(
            learn=dict(dataset=new_test),
            forget=dict(dataset=old_test, mixed='drop_boxes'),
            retain=dict(dataset=old_test, mixed='drop_boxes'),
        ),
    ),
)
test_dataloader = val_dataloader
