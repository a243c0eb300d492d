# Mask2Former on DINOv2 ViT-S/14: street scenes learn cars and bicyclists and forget trees and fences.
# Host: knowswap train configs/real/pretrain/mask2former_dinov2-s_camvid_pretrain.py
_base_ = ['./_base_/camvid.py', './_base_/mask2former_host.py']
custom_imports = dict(
    imports=['knowswap_mm', 'knowswap_mm.models.heads', 'mmdet.models', 'mmpretrain.models'],
    allow_failed_imports=False,
)
load_from = 'work_dirs/mask2former_dinov2-s_camvid_pretrain/iter_1200.pth'
model = dict(
    type='knowswap_mm.KnowledgeSwapper',
    host=_base_.mask2former,
    lora=dict(),
    head=dict(old_classes=9),
    fp32_losses=True,
)
model['host']['decode_head']['num_classes'] = 11
model['host']['decode_head']['loss_cls']['class_weight'] = [1.0] * 11 + [0.1]
