custom_imports = dict(
    allow_failed_imports=False, imports=[
        'knowswap_mm',
    ])
default_hooks = dict(
    block_profile=dict(type='knowswap_mm.BlockProfileHook'),
    checkpoint=dict(
        by_epoch=False, interval=6, max_keep_ckpts=-1, type='CheckpointHook'),
    logger=dict(interval=2, log_metric_by_epoch=False, type='LoggerHook'),
    param_scheduler=dict(type='ParamSchedulerHook'),
    phase=dict(save_adapter=True, type='knowswap_mm.PhaseHook'),
    pictures=dict(type='knowswap_mm.RolePicturesHook'),
    report=dict(type='knowswap_mm.ReportHook'),
    runtime_info=dict(type='knowswap_mm.DeviceScalarsHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    timer=dict(type='IterTimerHook'))
default_scope = 'mmpretrain'
env_cfg = dict(
    cudnn_benchmark=False,
    dist_cfg=dict(backend='gloo'),
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
experiment_name = 'old_run'
load_from = 'host.pth'
log_processor = dict(
    by_epoch=False, type='knowswap_mm.SwapLogProcessor', window_size=2)
model = dict(
    head=dict(new_rows_init='xavier', old_classes=5, policy='all'),
    host=dict(
        backbone=dict(
            arch=dict(
                embed_dims=32,
                feedforward_channels=64,
                num_heads=2,
                num_layers=2),
            drop_path_rate=0.0,
            drop_rate=0.0,
            img_size=16,
            patch_size=8,
            type='VisionTransformer'),
        data_preprocessor=dict(
            mean=[
                127.5,
                127.5,
                127.5,
            ],
            std=[
                127.5,
                127.5,
                127.5,
            ],
            to_rgb=True,
            type='ClsDataPreprocessor'),
        head=dict(
            cal_acc=True,
            in_channels=32,
            loss=dict(loss_weight=1.0, type='CrossEntropyLoss'),
            num_classes=7,
            topk=(1, ),
            type='VisionTransformerClsHead'),
        neck=None,
        type='ImageClassifier'),
    lora=dict(rank=4),
    type='knowswap_mm.KnowledgeSwapper')
optim_wrapper = dict(
    optimizer=dict(lr=0.01, type='AdamW', weight_decay=0.05),
    type='OptimWrapper')
param_scheduler = None
randomness = dict(seed=3)
runner_type = 'knowswap_mm.SwapRunner'
swap = dict(
    allow_random_host=False,
    classes=dict(
        forget=[
            'b',
        ], learn=[
            'x',
            'y',
        ], old=[
            'a',
            'b',
            'c',
            'd',
            'e',
        ]),
    phases=[
        dict(
            iters=4,
            kind='learn',
            weights=dict(learn=1.0, retain=0.2, sparsity=0.005)),
        dict(
            bound=105.0,
            iters=4,
            kind='forget',
            merge_learned=True,
            weights=dict(forget=0.2, retain=1.0, sparsity=0.005)),
    ])
test_cfg = dict(type='TestLoop')
test_dataloader = dict(
    batch_size=32,
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        roles=dict(
            forget=dict(
                dataset=dict(
                    data_prefix='val',
                    data_root='pictures',
                    pipeline=[
                        dict(type='LoadImageFromFile'),
                        dict(type='PackInputs'),
                    ],
                    serialize_data=False,
                    type='CustomDataset')),
            learn=dict(
                dataset=dict(
                    data_prefix='val',
                    data_root='pictures',
                    pipeline=[
                        dict(type='LoadImageFromFile'),
                        dict(type='PackInputs'),
                    ],
                    serialize_data=False,
                    type='CustomDataset')),
            retain=dict(
                dataset=dict(
                    data_prefix='val',
                    data_root='pictures',
                    pipeline=[
                        dict(type='LoadImageFromFile'),
                        dict(type='PackInputs'),
                    ],
                    serialize_data=False,
                    type='CustomDataset'))),
        type='knowswap_mm.RoleDataset'),
    num_workers=0,
    sampler=dict(shuffle=False, type='DefaultSampler'))
test_evaluator = dict(
    metric=[
        dict(topk=(1, ), type='Accuracy'),
    ],
    type='knowswap_mm.RoleMetric')
train_cfg = dict(type='IterBasedTrainLoop', val_interval=4)
train_dataloader = dict(
    batch_size=8,
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        roles=dict(
            forget=dict(
                dataset=dict(
                    data_prefix='train',
                    data_root='pictures',
                    pipeline=[
                        dict(type='LoadImageFromFile'),
                        dict(prob=0.5, type='RandomFlip'),
                        dict(type='PackInputs'),
                    ],
                    serialize_data=False,
                    type='CustomDataset')),
            learn=dict(
                dataset=dict(
                    data_prefix='train',
                    data_root='pictures',
                    pipeline=[
                        dict(type='LoadImageFromFile'),
                        dict(prob=0.5, type='RandomFlip'),
                        dict(type='PackInputs'),
                    ],
                    serialize_data=False,
                    type='CustomDataset')),
            retain=dict(
                dataset=dict(
                    data_prefix='train',
                    data_root='pictures',
                    pipeline=[
                        dict(type='LoadImageFromFile'),
                        dict(prob=0.5, type='RandomFlip'),
                        dict(type='PackInputs'),
                    ],
                    serialize_data=False,
                    type='CustomDataset'))),
        type='knowswap_mm.RoleDataset'),
    num_workers=0,
    sampler=dict(type='knowswap_mm.SwapSampler'))
val_cfg = dict(type='ValLoop')
val_dataloader = dict(
    batch_size=32,
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        roles=dict(
            forget=dict(
                dataset=dict(
                    data_prefix='val',
                    data_root='pictures',
                    pipeline=[
                        dict(type='LoadImageFromFile'),
                        dict(type='PackInputs'),
                    ],
                    serialize_data=False,
                    type='CustomDataset')),
            learn=dict(
                dataset=dict(
                    data_prefix='val',
                    data_root='pictures',
                    pipeline=[
                        dict(type='LoadImageFromFile'),
                        dict(type='PackInputs'),
                    ],
                    serialize_data=False,
                    type='CustomDataset')),
            retain=dict(
                dataset=dict(
                    data_prefix='val',
                    data_root='pictures',
                    pipeline=[
                        dict(type='LoadImageFromFile'),
                        dict(type='PackInputs'),
                    ],
                    serialize_data=False,
                    type='CustomDataset'))),
        type='knowswap_mm.RoleDataset'),
    num_workers=0,
    sampler=dict(shuffle=False, type='DefaultSampler'))
val_evaluator = dict(
    metric=[
        dict(topk=(1, ), type='Accuracy'),
    ],
    type='knowswap_mm.RoleMetric')
vis_backends = [
    dict(type='LocalVisBackend'),
]
visualizer = dict(
    type='Visualizer', vis_backends=[
        dict(type='LocalVisBackend'),
    ])
work_dir = 'run'
