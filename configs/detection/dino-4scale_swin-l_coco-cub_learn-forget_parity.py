# The official detection recipe on COCO with five CUB birds, learn before forget. As in the official code, the
# group-sparse term leaves the decoder out. (There, re-entrant checkpointing also kept task gradients from the backbone's
# adapters; `dino-4scale_swin-l_coco-cub_learn-forget_encoder-decoder_parity.py` reproduces what that trains.)
_base_ = [
    '../_base_/swap_runtime.py',
    './_base_/dino-4scale_swin-l.py',
    './_base_/evaluation.py',
    './_base_/swap_parity.py',
]
default_scope = 'mmdet'
model = dict(
    head=dict(policy='frozen'),
    loss=dict(type='knowswap_mm.SwappingLoss', group_exclude=[r'^decoder\.']),
)
# The labels of public COCO weights: the 80 categories in the order of their ids.
swap = dict(order='learn-forget', classes=dict(old='category_id'))
randomness = dict(seed=42)
auto_scale_lr = dict(base_batch_size=8, enable=False)

# The official layout: three folders, each with {train2017,val2017}/ and annotations/instances_{train,val}2017.json.
# Boxes are taken as each json lists them (mixed='keep'). As in the official evaluation, every image of a json is
# evaluated, also one without an object of the role: what is found there is a false positive.
data_root = 'data/coco_swap/'
scales = [(480 + 32 * step, 1333) for step in range(11)]
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='RandomChoice',
        transforms=[
            [dict(type='RandomChoiceResize', scales=scales, keep_ratio=True)],
            [
                dict(
                    type='RandomChoiceResize',
                    scales=[(400, 4200), (500, 4200), (600, 4200)],
                    keep_ratio=True,
                ),
                dict(
                    type='RandomCrop',
                    crop_type='absolute_range',
                    crop_size=(384, 600),
                    allow_negative_crop=True,
                ),
                dict(type='RandomChoiceResize', scales=scales, keep_ratio=True),
            ],
        ],
    ),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(1333, 800), keep_ratio=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
learn_train = dict(
    type='CocoDataset',
    data_root=data_root + 'cub/',
    ann_file='annotations/instances_train2017.json',
    data_prefix=dict(img='train2017/'),
    pipeline=train_pipeline,
)
forget_train = dict(
    type='CocoDataset',
    data_root=data_root + 'forget/',
    ann_file='annotations/instances_train2017.json',
    data_prefix=dict(img='train2017/'),
    pipeline=train_pipeline,
)
retain_train = dict(
    type='CocoDataset',
    data_root=data_root + 'retain/',
    ann_file='annotations/instances_train2017.json',
    data_prefix=dict(img='train2017/'),
    pipeline=train_pipeline,
)
learn_val = dict(
    type='CocoDataset',
    data_root=data_root + 'cub/',
    ann_file='annotations/instances_val2017.json',
    data_prefix=dict(img='val2017/'),
    test_mode=True,
    pipeline=test_pipeline,
)
forget_val = dict(
    type='CocoDataset',
    data_root=data_root + 'forget/',
    ann_file='annotations/instances_val2017.json',
    data_prefix=dict(img='val2017/'),
    test_mode=True,
    pipeline=test_pipeline,
)
retain_val = dict(
    type='CocoDataset',
    data_root=data_root + 'retain/',
    ann_file='annotations/instances_val2017.json',
    data_prefix=dict(img='val2017/'),
    test_mode=True,
    pipeline=test_pipeline,
)
train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='knowswap_mm.SwapSampler'),
    dataset=dict(
        type='knowswap_mm.RoleDataset',
        view='knowswap_mm.CocoRoleView',
        roles=dict(
            learn=dict(dataset=learn_train, mixed='keep'),
            forget=dict(dataset=forget_train, mixed='keep'),
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
        view='knowswap_mm.CocoRoleView',
        roles=dict(
            learn=dict(dataset=learn_val, mixed='drop_boxes', without_object='keep'),
            forget=dict(dataset=forget_val, mixed='drop_boxes', without_object='keep'),
            retain=dict(dataset=retain_val, mixed='drop_boxes', without_object='keep'),
        ),
    ),
)
test_dataloader = val_dataloader
