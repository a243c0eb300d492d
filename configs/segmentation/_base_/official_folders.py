# The official layout: a learn set with {train,test}/{images,annotations}, whose maps have the new classes from id 150
# on, and two parts of ADE20K with images/{training,validation} and annotations_detectron2/{training,validation}, ids
# 0 to 149. Pixels that play no part are 255 in the maps already.
_base_ = ['./normalise.py', './evaluation.py']
data_root = 'data/ade_swap/'
resize_and_crop = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(
        type='RandomChoiceResize',
        scales=[64 * step for step in range(5, 21)],
        resize_type='ResizeShortestEdge',
        max_size=2560,
    ),
    dict(type='RandomCrop', crop_size=(640, 640), cat_max_ratio=1.0),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='Pad', size=(640, 640), pad_val=dict(img=128, seg=255)),
]
resize = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(2560, 640), keep_ratio=True),
    dict(type='LoadAnnotations'),
]
train_pipeline = [*resize_and_crop, _base_.normalise, dict(type='PackSegInputs')]
test_pipeline = [*resize, _base_.normalise, dict(type='PackSegInputs')]
learn_train = dict(
    type='BaseSegDataset',
    data_root=data_root + 'voc/',
    data_prefix=dict(img_path='train/images', seg_map_path='train/annotations'),
    metainfo=dict(classes=['bird', 'cat', 'cow', 'dog', 'horse', 'sheep']),
    pipeline=train_pipeline,
)
forget_train = dict(
    type='ADE20KDataset',
    data_root=data_root + 'forget/',
    data_prefix=dict(img_path='images/training', seg_map_path='annotations_detectron2/training'),
    reduce_zero_label=False,
    pipeline=train_pipeline,
)
retain_train = dict(
    type='ADE20KDataset',
    data_root=data_root + 'retain/',
    data_prefix=dict(img_path='images/training', seg_map_path='annotations_detectron2/training'),
    reduce_zero_label=False,
    pipeline=train_pipeline,
)
learn_val = dict(
    type='BaseSegDataset',
    data_root=data_root + 'voc/',
    data_prefix=dict(img_path='test/images', seg_map_path='test/annotations'),
    metainfo=dict(classes=['bird', 'cat', 'cow', 'dog', 'horse', 'sheep']),
    test_mode=True,
    pipeline=test_pipeline,
)
forget_val = dict(
    type='ADE20KDataset',
    data_root=data_root + 'forget/',
    data_prefix=dict(
        img_path='images/validation', seg_map_path='annotations_detectron2/validation'
    ),
    reduce_zero_label=False,
    test_mode=True,
    pipeline=test_pipeline,
)
retain_val = dict(
    type='ADE20KDataset',
    data_root=data_root + 'retain/',
    data_prefix=dict(
        img_path='images/validation', seg_map_path='annotations_detectron2/validation'
    ),
    reduce_zero_label=False,
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
            learn=dict(dataset=learn_train, first_id=150),
            forget=dict(dataset=forget_train),
            retain=dict(dataset=retain_train, mixed='keep'),
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
            learn=dict(dataset=learn_val, first_id=150),
            forget=dict(dataset=forget_val, mixed='keep'),
            retain=dict(dataset=retain_val, mixed='keep'),
        ),
    ),
)
test_dataloader = val_dataloader
