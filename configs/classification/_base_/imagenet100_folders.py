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
