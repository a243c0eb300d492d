# What the trainings of hosts share: iterations, a short warm-up and a cosine, a validation every 100 iterations. They
# run by `knowswap train`, as any plain training of mmengine.
_base_ = ['../../_base_/default_runtime.py']
runner_type = 'Runner'
train_cfg = dict(type='IterBasedTrainLoop', max_iters=1000, val_interval=100)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=250, max_keep_ckpts=1),
)
log_processor = dict(by_epoch=False, window_size=50)
