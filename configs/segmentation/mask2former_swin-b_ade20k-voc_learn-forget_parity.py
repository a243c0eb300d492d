# The official segmentation recipe on ADE20K with six VOC classes, learn before forget. As in the official code, learn
# images are normalised with the statistics of Oxford-IIIT Pet whatever the learn set is.
_base_ = [
    '../_base_/swap_runtime.py',
    './_base_/mask2former_swin-b.py',
    './_base_/evaluation.py',
    './_base_/swap_parity.py',
]
default_scope = 'mmseg'
custom_imports = dict(imports=['knowswap_mm', 'mmdet.models'], allow_failed_imports=False)
model = dict(head=dict(policy='frozen'))
# The labels of public ADE20K weights: 150 classes in the order of their ids.
swap = dict(
    order='learn-forget',
    classes=dict(old='category_id', learn=['bird', 'cat', 'cow', 'dog', 'horse', 'sheep']),
)
randomness = dict(seed=42)
auto_scale_lr = dict(base_batch_size=12, enable=False)

# The official layout: a learn set with {train,test}/{images,annotations}, whose maps have the new classes from id 150
# on, and two parts of ADE20K with images/{training,validation} and annotations_detectron2/{training,validation}, ids
# 0 to 149. Pixels that play no part are 255 in the maps already.
data_root = 'data/ade_swap/'
# Statistics of ImageNet: what public Swin weights expect. A role with images of another kind may have its own.
normalise = dict(
    type='Normalize', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
)
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
train_pipeline = [*resize_and_crop, normalise, dict(type='PackSegInputs')]
test_pipeline = [*resize, normalise, dict(type='PackSegInputs')]
pet_statistics = dict(
    type='Normalize', mean=[119.734, 109.833, 94.848], std=[57.671, 57.199, 58.465], to_rgb=True
)
learn_train_pipeline = [*resize_and_crop, pet_statistics, dict(type='PackSegInputs')]
learn_test_pipeline = [*resize, pet_statistics, dict(type='PackSegInputs')]
learn_train = dict(
    type='BaseSegDataset',
    data_root=data_root + 'voc/',
    data_prefix=dict(img_path='train/images', seg_map_path='train/annotations'),
    metainfo=dict(classes=['bird', 'cat', 'cow', 'dog', 'horse', 'sheep']),
    pipeline=learn_train_pipeline,
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
    pipeline=learn_test_pipeline,
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
