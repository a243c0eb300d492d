# DINOv2 ViT-S/14 on photos of groceries: learns six vegetables and forgets five of thirty fruits.
# Host: knowswap train configs/real/pretrain/vit_dinov2-s_grocery_pretrain.py
_base_ = ['./_base_/grocery.py', './_base_/dinov2_small.py']
load_from = 'work_dirs/vit_dinov2-s_grocery_pretrain/iter_1000.pth'
swap = dict(
    order='learn-forget',
    classes=dict(
        old=_base_.grocery_old,
        learn=_base_.grocery_new,
        forget=['Red-Delicious', 'Lemon', 'Galia-Melon', 'Papaya', 'Satsumas'],
    ),
)
model = dict(
    type='knowswap_mm.KnowledgeSwapper',
    host=dict(
        type='ImageClassifier',
        data_preprocessor=dict(type='ClsDataPreprocessor', to_rgb=True, **_base_.imagenet),
        backbone=_base_.dinov2_small,
        neck=None,
        head=dict(
            type='VisionTransformerClsHead',
            num_classes=36,
            in_channels=384,
            cal_acc=True,
            loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        ),
    ),
    lora=dict(),
    head=dict(old_classes=30),
)
