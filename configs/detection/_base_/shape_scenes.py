# Scenes of shapes by role. Data: python tools/dataset_converters/shape_scenes.py
# A forget or retain image holds objects of its role alone when it trains (mixed='drop_image'): an
# object without a box would be background, in a forget image even inside a loss that is
# ascended. When it is evaluated, objects of other roles do no harm: their classes do not count.
_base_ = ['./evaluation.py']
val_evaluator = dict(metric=dict(classwise=True))
old_root = 'data/shape_scenes/old/'
new_root = 'data/shape_scenes/new/'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomFlip', prob=0.5, direction=['horizontal']),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(128, 128), keep_ratio=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
old_train = dict(
    type='CocoDataset',
    data_root=old_root,
    ann_file='annotations/instances_train.json',
    data_prefix=dict(img='train/'),
    pipeline=train_pipeline,
)
new_train = dict(
    type='CocoDataset',
    data_root=new_root,
    ann_file='annotations/instances_train.json',
    data_prefix=dict(img='train/'),
    pipeline=train_pipeline,
)
old_val = dict(
    type='CocoDataset',
    data_root=old_root,
    ann_file='annotations/instances_val.json',
    data_prefix=dict(img='val/'),
    test_mode=True,
    pipeline=test_pipeline,
)
new_val = dict(
    type='CocoDataset',
    data_root=new_root,
    ann_file='annotations/instances_val.json',
    data_prefix=dict(img='val/'),
    test_mode=True,
    pipeline=test_pipeline,
)
old_test = dict(
    type='CocoDataset',
    data_root=old_root,
    ann_file='annotations/instances_test.json',
    data_prefix=dict(img='test/'),
    test_mode=True,
    pipeline=test_pipeline,
)
new_test = dict(
    type='CocoDataset',
    data_root=new_root,
    ann_file='annotations/instances_test.json',
    data_prefix=dict(img='test/'),
    test_mode=True,
    pipeline=test_pipeline,
)
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='knowswap_mm.SwapSampler'),
    dataset=dict(
        type='knowswap_mm.RoleDataset',
        view='knowswap_mm.CocoRoleView',
        roles=dict(
            learn=dict(dataset=new_train, mixed='drop_image'),
            forget=dict(dataset=old_train, mixed='drop_image'),
            retain=dict(dataset=old_train, mixed='drop_image'),
        ),
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='knowswap_mm.RoleDataset',
        view='knowswap_mm.CocoRoleView',
        roles=dict(
            learn=dict(dataset=new_val, mixed='drop_image'),
            forget=dict(dataset=old_val, mixed='drop_boxes'),
            retain=dict(dataset=old_val, mixed='drop_boxes'),
        ),
    ),
)
test_dataloader = dict(
    batch_size=32,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='knowswap_mm.RoleDataset',
        view='knowswap_mm.CocoRoleView',
        roles=dict(
            learn=dict(dataset=new_test, mixed='drop_image'),
            forget=dict(dataset=old_test, mixed='drop_boxes'),
            retain=dict(dataset=old_test, mixed='drop_boxes'),
        ),
    ),
)
# One scene at a time is read: fewer of them, and fewer looks while relearning.
audit = dict(
    samples=100, settings=dict(Relearning=dict(steps=64, batch_size=16, repeats=2, samples=60))
)
