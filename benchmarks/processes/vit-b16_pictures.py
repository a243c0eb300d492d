# The ImageNet-100 recipe as benchmarks/end_to_end.py writes its images, one learn phase.
_base_ = ['../../configs/classification/vit-b16_imagenet100_learn-forget_parity.py']
custom_imports = dict(
    imports=['knowswap_mm', 'benchmarks.processes.rank_digest_hook'], allow_failed_imports=False
)
custom_hooks = [dict(type='knowswap_mm.RankDigestHook')]
load_from = None
swap = dict(order='learn', allow_random_host=True)
val_cfg = val_dataloader = val_evaluator = None
param_scheduler = []
