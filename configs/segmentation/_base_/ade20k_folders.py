# ADE20K as it is distributed (ADEChallengeData2016) in the forget and retain roles, told apart by class, and a second
# data set with maps of its own in the learn role.
# An image trains with the pixels of its role alone. Retain images keep all labels but those of forgotten classes.
_base_ = ['./evaluation.py']
old_root = 'data/ade/ADEChallengeData2016/'
new_root = 'data/voc_animals/'
new_classes = ['bird', 'cat', 'cow', 'dog', 'horse', 'sheep']
# Statistics of ImageNet: what public Swin weights expect. A role with images of another kind may have its own.
normalise = dict(
    type='Normalize', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(
        type='RandomChoiceResize',
        scales=[64 * step for step in range(5, 21)],
        resize_type='ResizeShortestEdge',
        max_size=2560,
    ),
    dict(type='RandomCrop', crop_size=(640, 640), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    normalise,
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(2560, 640), keep_ratio=True),
    dict(type='LoadAnnotations'),
    normalise,
    dict(type='PackSegInputs'),
]
old_train = dict(
    type='ADE20KDataset',
    data_root=old_root,
    data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
    pipeline=train_pipeline,
)
new_train = dict(
    type='BaseSegDataset',
    data_root=new_root,
    data_prefix=dict(img_path='train/images', seg_map_path='train/annotations'),
    metainfo=dict(classes=new_classes),
    pipeline=train_pipeline,
)
old_val = dict(
    type='ADE20KDataset',
    data_root=old_root,
    data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
    test_mode=True,
    pipeline=test_pipeline,
)
new_val = dict(
    type='BaseSegDataset',
    data_root=new_root,
    data_prefix=dict(img_path='val/images', seg_map_path='val/annotations'),
    metainfo=dict(classes=new_classes),
    test_mode=True,
    pipeline=test_pipeline,
)
train_dataloader = dict(
    batch_size=12,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='knowswap_mm.SwapSampler'),
    dataset=dict(
        type='knowswap_mm.RoleDataset',
        view='knowswap_mm.SemanticRoleView',
        roles=dict(
            learn=dict(dataset=new_train),
            forget=dict(dataset=old_train),
            retain=dict(dataset=old_train),
        ),
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
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
test_dataloader = val_dataloader
