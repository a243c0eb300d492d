# What every swap shares: the runner that resolves `swap`, an iteration-based loop, and its hooks.
_base_ = ['./default_runtime.py']
custom_imports = dict(imports=['knowswap_mm'], allow_failed_imports=False)
runner_type = 'knowswap_mm.SwapRunner'

train_cfg = dict(type='IterBasedTrainLoop')
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    # Logs what mmengine's RuntimeInfoHook logs, without waiting for the device in every iteration.
    runtime_info=dict(type='knowswap_mm.DeviceScalarsHook'),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=500, max_keep_ckpts=2),
)
log_processor = dict(by_epoch=False, window_size=20)
custom_hooks = [dict(type='knowswap_mm.PhaseHook')]
