# Mask2Former for nine classes of CamVid on the frozen DINOv2 ViT-S/14.
_base_ = ['../_base_/camvid_pretrain.py', '../_base_/mask2former_host.py']
custom_imports = dict(
    imports=['knowswap_mm', 'mmdet.models', 'mmpretrain.models'], allow_failed_imports=False
)
model = _base_.mask2former
model['backbone'].update(frozen_stages=12, init_cfg=_base_.dinov2_weights)
train_dataloader = dict(batch_size=8)
train_cfg = dict(max_iters=1200, val_interval=150)
optim_wrapper = dict(optimizer=dict(lr=2e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=100, end=1200, eta_min_ratio=0.01),
]
