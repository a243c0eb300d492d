# The official ImageNet-100 recipe, learn before forget, on the official three folders.
_base_ = ['../_base_/swap_runtime.py', './_base_/swap_parity.py']
default_scope = 'mmpretrain'
swap = dict(order='learn-forget', classes=dict(old='leading_integer'))
randomness = dict(seed=1337)
auto_scale_lr = dict(base_batch_size=160, enable=False)

# ViT-B/16 at 224 px: 100 old classes and 100 rows for new ones, as the official classifier has them.
model = dict(
    type='knowswap_mm.KnowledgeSwapper',
    host=dict(
        type='ImageClassifier',
        data_preprocessor=dict(
            type='ClsDataPreprocessor', mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True
        ),
        backbone=dict(
            type='VisionTransformer',
            arch='b',
            img_size=224,
            patch_size=16,
            # mmpretrain's rate also covers the attention's projection, after which the official model
            # does not drop.
            drop_rate=0.1,
        ),
        neck=None,
        head=dict(
            type='VisionTransformerClsHead',
            num_classes=200,
            in_channels=768,
            cal_acc=True,
            loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
            topk=(1,),
        ),
    ),
    lora=dict(rank=8, alpha=1),
    head=dict(policy='frozen', old_classes=100, new_rows_init='xavier'),
)
load_from = 'weights/vit-b16_imagenet100.pth'

# The official layout: <root>/{learn,forget,retain}/{train,test}/<class>/, where the old classes' folders are named
# <number>_<wnid> (17_n01537544 is class 17) and the learn classes' folders as you like.
data_root = 'data/imagenet100_swap/'
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(224, 224), interpolation='bilinear', backend='pillow'),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=160,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='knowswap_mm.SwapSampler'),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='knowswap_mm.RoleDataset',
        cache=dict(size='4GB'),  # some 20,000 images of 224 px; the same samples without it
        roles=dict(
            learn=dict(
                dataset=dict(
                    type='CustomDataset',
                    data_root=data_root,
                    data_prefix='learn/train',
                    pipeline=pipeline,
                )
            ),
            forget=dict(
                dataset=dict(
                    type='CustomDataset',
                    data_root=data_root,
                    data_prefix='forget/train',
                    pipeline=pipeline,
                ),
                fraction=0.1,
                seed=1337,
            ),
            retain=dict(
                dataset=dict(
                    type='CustomDataset',
                    data_root=data_root,
                    data_prefix='retain/train',
                    pipeline=pipeline,
                ),
                fraction=0.1,
                seed=1337,
            ),
        ),
    ),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='knowswap_mm.RoleDataset',
        cache=dict(size='2GB'),
        roles=dict(
            learn=dict(
                dataset=dict(
                    type='CustomDataset',
                    data_root=data_root,
                    data_prefix='learn/test',
                    pipeline=pipeline,
                )
            ),
            forget=dict(
                dataset=dict(
                    type='CustomDataset',
                    data_root=data_root,
                    data_prefix='forget/test',
                    pipeline=pipeline,
                )
            ),
            retain=dict(
                dataset=dict(
                    type='CustomDataset',
                    data_root=data_root,
                    data_prefix='retain/test',
                    pipeline=pipeline,
                )
            ),
        ),
    ),
)
val_evaluator = dict(type='knowswap_mm.RoleMetric', metric=[dict(type='Accuracy', topk=(1,))])
test_dataloader = val_dataloader
test_evaluator = dict(
    type='knowswap_mm.RoleMetric',
    metric=[dict(type='Accuracy', topk=(1,)), dict(type='knowswap_mm.PerClassAccuracy')],
)
