# Street scenes of CamVid by role, at 392 x 294 px (28 x 21 patches). The maps have all eleven classes. An image trains
# with the pixels of its role alone; when it is evaluated, all keep their labels. Data: docs/real.md
_base_ = [
    '../../_base_/swap_runtime.py',
    '../../segmentation/_base_/evaluation.py',
    './recipe.py',
]
default_scope = 'mmseg'
val_evaluator = dict(metric=dict(classwise=True))
camvid_root = 'data/real/camvid/'
camvid_classes = [
    'sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car', 'pedestrian', 'bicyclist',
]  # fmt: skip
load_images = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='Resize', scale=(392, 294), keep_ratio=True),
]
train_pipeline = [
    *load_images,
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(392, 294), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
camvid_train = dict(
    type='BaseSegDataset',
    data_root=camvid_root,
    data_prefix=dict(img_path='train/images', seg_map_path='train/annotations'),
    img_suffix='.png',
    metainfo=dict(classes=camvid_classes),
    pipeline=train_pipeline,
)
camvid_val = dict(
    type='BaseSegDataset',
    data_root=camvid_root,
    data_prefix=dict(img_path='val/images', seg_map_path='val/annotations'),
    img_suffix='.png',
    metainfo=dict(classes=camvid_classes),
    test_mode=True,
    pipeline=test_pipeline,
)
camvid_test = dict(
    type='BaseSegDataset',
    data_root=camvid_root,
    data_prefix=dict(img_path='test/images', seg_map_path='test/annotations'),
    img_suffix='.png',
    metainfo=dict(classes=camvid_classes),
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
        view='knowswap_mm.SemanticRoleView',
        cache=dict(size='1GB'),
        roles=dict(
            learn=dict(dataset=camvid_train),
            forget=dict(dataset=camvid_train),
            retain=dict(dataset=camvid_train),
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
        view='knowswap_mm.SemanticRoleView',
        roles=dict(
            learn=dict(dataset=camvid_val, mixed='keep'),
            forget=dict(dataset=camvid_val, mixed='keep'),
            retain=dict(dataset=camvid_val, mixed='keep'),
        ),
    ),
)
test_dataloader = dict(
    batch_size=16,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='knowswap_mm.RoleDataset',
        view='knowswap_mm.SemanticRoleView',
        roles=dict(
            learn=dict(dataset=camvid_test, mixed='keep'),
            forget=dict(dataset=camvid_test, mixed='keep'),
            retain=dict(dataset=camvid_test, mixed='keep'),
        ),
    ),
)
swap = dict(
    order='learn-forget',
    classes=dict(
        old=['sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'pedestrian'],
        learn=['car', 'bicyclist'],
        forget=['tree', 'fence'],
    ),
)
