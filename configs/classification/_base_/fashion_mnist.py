# The images of Fashion-MNIST by role; which classes play which role stands in the config that uses this.
# Data: python tools/dataset_converters/fashion_mnist.py
data_root = 'data/fashion_mnist/'
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
train_pictures = dict(
    type='CustomDataset', data_root=data_root, data_prefix='train', pipeline=pipeline
)
val_pictures = dict(type='CustomDataset', data_root=data_root, data_prefix='val', pipeline=pipeline)
test_pictures = dict(
    type='CustomDataset', data_root=data_root, data_prefix='test', pipeline=pipeline
)

train_dataloader = dict(
    batch_size=160,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='knowswap_mm.SwapSampler'),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='knowswap_mm.RoleDataset',
        roles=dict(
            learn=dict(dataset=train_pictures),
            forget=dict(dataset=train_pictures, fraction=0.1),
            retain=dict(dataset=train_pictures, fraction=0.1),
        ),
    ),
)
val_dataloader = dict(
    batch_size=500,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='knowswap_mm.RoleDataset',
        roles=dict(
            learn=dict(dataset=val_pictures),
            forget=dict(dataset=val_pictures),
            retain=dict(dataset=val_pictures),
        ),
    ),
)
test_dataloader = dict(
    batch_size=500,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='knowswap_mm.RoleDataset',
        roles=dict(
            learn=dict(dataset=test_pictures),
            forget=dict(dataset=test_pictures),
            retain=dict(dataset=test_pictures),
        ),
    ),
)
val_evaluator = dict(
    type='knowswap_mm.RoleMetric',
    metric=[dict(type='Accuracy', topk=(1,)), dict(type='knowswap_mm.PerClassAccuracy')],
)
test_evaluator = val_evaluator
# Relearning: the learning rate of a fine-tuning of this small ViT.
audit = dict(settings=dict(Relearning=dict(lr=3e-4, steps=96, batch_size=64)))
