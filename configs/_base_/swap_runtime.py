# What every swap shares: the runner that resolves `swap`, an iteration-based loop, and its hooks.
#
# Names of configs: <model>_<data>_<order of phases>[_parity].py. "Official" is the code that the authors of the paper
# published. A config that ends in `_parity` repeats its recipe number by number (each task's stands in
# `<task>/_base_/swap_parity.py`); one without has our settings. A config of one line (`swap.order`) gives a cell of the
# authors' tables a name.
_base_ = ['./default_runtime.py']
custom_imports = dict(imports=['knowswap_mm'], allow_failed_imports=False)
runner_type = 'knowswap_mm.SwapRunner'

train_cfg = dict(type='IterBasedTrainLoop')
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    # Logs what mmengine's RuntimeInfoHook logs, without waiting for the device in every iteration.
    runtime_info=dict(type='knowswap_mm.DeviceScalarsHook'),
    # At the iteration of the run, as the curves of the training.
    logger=dict(log_metric_by_epoch=False),
    # Gradients and adapters by transformer block: block_profile.json.
    block_profile=dict(type='knowswap_mm.BlockProfileHook'),
    # What the model says of a few samples of each role, at the start and after each phase.
    pictures=dict(type='knowswap_mm.RolePicturesHook'),
    # report.html, report.md and report.json at the end.
    report=dict(type='knowswap_mm.ReportHook'),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=500, max_keep_ckpts=2),
)
log_processor = dict(type='knowswap_mm.SwapLogProcessor', by_epoch=False, window_size=20)
custom_hooks = [dict(type='knowswap_mm.PhaseHook')]
