# UPerNet on DINOv2 ViT-S/14: street scenes learn cars and bicyclists and forget trees and fences.
# Host: knowswap train configs/real/pretrain/upernet_dinov2-s_camvid_pretrain.py
_base_ = ['./_base_/camvid.py', './_base_/upernet_host.py']
custom_imports = dict(imports=['knowswap_mm', 'mmpretrain.models'], allow_failed_imports=False)
load_from = 'work_dirs/upernet_dinov2-s_camvid_pretrain/iter_1000.pth'
model = dict(
    type='knowswap_mm.KnowledgeSwapper',
    host=_base_.upernet,
    lora=dict(),
    head=dict(old_classes=9),
)
model['host']['decode_head']['num_classes'] = 11
