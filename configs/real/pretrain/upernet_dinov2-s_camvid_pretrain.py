# UPerNet for nine classes of CamVid on the frozen DINOv2 ViT-S/14.
_base_ = ['../_base_/camvid_pretrain.py', '../_base_/upernet_host.py']
custom_imports = dict(imports=['knowswap_mm', 'mmpretrain.models'], allow_failed_imports=False)
model = _base_.upernet
model['backbone'].update(frozen_stages=12, init_cfg=_base_.dinov2_weights)
