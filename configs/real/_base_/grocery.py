# Photos of the Grocery Store Dataset by role: 30 old classes and six new ones in folders of their own, each with train
# and test. Data: docs/real.md
_base_ = ['../../_base_/swap_runtime.py', './recipe.py']
default_scope = 'mmpretrain'
grocery_old = [
    'Anjou', 'Avocado', 'Banana', 'Bravo-Apple-Juice', 'Bravo-Orange-Juice', 'Cantaloupe', 'Conference',
    'Galia-Melon', 'Golden-Delicious', 'Granny-Smith', 'Honeydew-Melon', 'Kaiser', 'Kiwi', 'Lemon', 'Lime',
    'Mango', 'Nectarine', 'Orange', 'Papaya', 'Passion-Fruit', 'Peach', 'Pineapple', 'Pink-Lady', 'Plum',
    'Pomegranate', 'Red-Delicious', 'Red-Grapefruit', 'Royal-Gala', 'Satsumas', 'Watermelon',
]  # fmt: skip
grocery_new = [
    'Cabbage', 'Leek', 'Red-Bell-Pepper', 'Regular-Tomato', 'Vine-Tomato', 'Yellow-Onion',
]  # fmt: skip
load = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=196, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=196),
]
train_pipeline = [*load, dict(type='RandomFlip', prob=0.5), dict(type='PackInputs')]
test_pipeline = [*load, dict(type='PackInputs')]
old_train = dict(
    type='CustomDataset',
    data_root='data/real/grocery/old/',
    data_prefix='train',
    pipeline=train_pipeline,
)
new_train = dict(
    type='CustomDataset',
    data_root='data/real/grocery/new/',
    data_prefix='train',
    pipeline=train_pipeline,
)
old_test = dict(
    type='CustomDataset',
    data_root='data/real/grocery/old/',
    data_prefix='test',
    pipeline=test_pipeline,
)
new_test = dict(
    type='CustomDataset',
    data_root='data/real/grocery/new/',
    data_prefix='test',
    pipeline=test_pipeline,
)
train_dataloader = dict(
    batch_size=160,  # 80 of the phase's own role, 80 to retain
    num_workers=2,
    persistent_workers=True,
    pin_memory=True,
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='knowswap_mm.RoleDataset',
        cache=dict(size='1GB'),
        roles=dict(
            learn=dict(dataset=new_train),
            forget=dict(dataset=old_train),
            retain=dict(dataset=old_train),
        ),
    ),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='knowswap_mm.RoleDataset',
        roles=dict(
            learn=dict(dataset=new_test),
            forget=dict(dataset=old_test),
            retain=dict(dataset=old_test),
        ),
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    type='knowswap_mm.RoleMetric',
    metric=[dict(type='Accuracy', topk=(1,)), dict(type='knowswap_mm.PerClassAccuracy')],
)
test_evaluator = val_evaluator
