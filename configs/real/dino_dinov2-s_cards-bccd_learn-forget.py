# DINO on DINOv2 ViT-S/14: a detector of six playing cards learns three kinds of blood cells, from another data set, and
# forgets tens and queens.
# Host: knowswap train configs/real/pretrain/dino_dinov2-s_cards_pretrain.py
_base_ = ['./_base_/cards_bccd.py', './_base_/dino_host.py']
custom_imports = dict(
    imports=['knowswap_mm', 'mmpretrain.models', 'mmseg.models'], allow_failed_imports=False
)
load_from = 'work_dirs/dino_dinov2-s_cards_pretrain/iter_1600.pth'
swap = dict(
    order='learn-forget',
    classes=dict(
        old=_base_.card_classes,
        learn=['RBC', 'WBC', 'Platelets'],
        forget=['ten', 'queen'],
    ),
)
model = dict(
    type='knowswap_mm.KnowledgeSwapper',
    host=_base_.dino,
    lora=dict(),
    head=dict(old_classes=6),
    fuse='always',
    fp32_losses=True,
)
model['host']['bbox_head']['num_classes'] = 9
