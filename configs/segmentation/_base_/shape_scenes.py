# Scenes of shapes by role, with semantic maps. Data: python tools/dataset_converters/shape_scenes.py
# An image trains with the pixels of its role alone; the others are unlabelled (mixed='ignore_pixels'). When it is
# evaluated, all keep their labels, so that a class predicted in the wrong place counts against it.
_base_ = ['./evaluation.py']
val_evaluator = dict(metric=dict(classwise=True))
old_root = 'data/shape_scenes/old/'
new_root = 'data/shape_scenes/new/'
textures = ['gradient', 'stripes', 'checker', 'clouds']
old_classes = [
    'disc', 'ring', 'half-disc', 'crescent', 'triangle', 'square', 'bar', 'cross',
    'star', 'heart', 'arrow', 'l-shape', *textures,
]  # fmt: skip
new_classes = ['t-shape', 'u-shape', 'hourglass', 'zigzag', *textures]
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
old_train = dict(
    type='BaseSegDataset',
    data_root=old_root,
    data_prefix=dict(img_path='train', seg_map_path='semantic/train'),
    img_suffix='.png',
    reduce_zero_label=True,
    metainfo=dict(classes=old_classes),
    pipeline=train_pipeline,
)
new_train = dict(
    type='BaseSegDataset',
    data_root=new_root,
    data_prefix=dict(img_path='train', seg_map_path='semantic/train'),
    img_suffix='.png',
    reduce_zero_label=True,
    metainfo=dict(classes=new_classes),
    pipeline=train_pipeline,
)
old_val = dict(
    type='BaseSegDataset',
    data_root=old_root,
    data_prefix=dict(img_path='val', seg_map_path='semantic/val'),
    img_suffix='.png',
    reduce_zero_label=True,
    metainfo=dict(classes=old_classes),
    test_mode=True,
    pipeline=test_pipeline,
)
new_val = dict(
    type='BaseSegDataset',
    data_root=new_root,
    data_prefix=dict(img_path='val', seg_map_path='semantic/val'),
    img_suffix='.png',
    reduce_zero_label=True,
    metainfo=dict(classes=new_classes),
    test_mode=True,
    pipeline=test_pipeline,
)
old_test = dict(
    type='BaseSegDataset',
    data_root=old_root,
    data_prefix=dict(img_path='test', seg_map_path='semantic/test'),
    img_suffix='.png',
    reduce_zero_label=True,
    metainfo=dict(classes=old_classes),
    test_mode=True,
    pipeline=test_pipeline,
)
new_test = dict(
    type='BaseSegDataset',
    data_root=new_root,
    data_prefix=dict(img_path='test', seg_map_path='semantic/test'),
    img_suffix='.png',
    reduce_zero_label=True,
    metainfo=dict(classes=new_classes),
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
        view='knowswap_mm.SemanticRoleView',
        roles=dict(
            learn=dict(dataset=new_train),
            forget=dict(dataset=old_train),
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
        view='knowswap_mm.SemanticRoleView',
        roles=dict(
            learn=dict(dataset=new_val, mixed='keep'),
            forget=dict(dataset=old_val, mixed='keep'),
            retain=dict(dataset=old_val, mixed='keep'),
        ),
    ),
)
test_dataloader = dict(
    batch_size=32,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='knowswap_mm.RoleDataset',
        view='knowswap_mm.SemanticRoleView',
        roles=dict(
            learn=dict(dataset=new_test, mixed='keep'),
            forget=dict(dataset=old_test, mixed='keep'),
            retain=dict(dataset=old_test, mixed='keep'),
        ),
    ),
)
# One scene at a time is read: fewer of them, and fewer looks while relearning.
audit = dict(
    samples=100, settings=dict(Relearning=dict(steps=64, batch_size=16, repeats=2, samples=60))
)
