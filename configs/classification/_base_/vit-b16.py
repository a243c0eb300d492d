# ViT-B/16 at 224 px: 100 old classes and 100 rows for new ones, as the official classifier has them.
model = dict(
    type='knowswap_mm.KnowledgeSwapper',
    host=dict(
        type='ImageClassifier',
        data_preprocessor=dict(
            type='ClsDataPreprocessor', mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True
        ),
        backbone=dict(
            type='VisionTransformer',
            arch='b',
            img_size=224,
            patch_size=16,
            # mmpretrain's rate also covers the attention's projection, after which the official model
            # does not drop.
            drop_rate=0.1,
        ),
        neck=None,
        head=dict(
            type='VisionTransformerClsHead',
            num_classes=200,
            in_channels=768,
            cal_acc=True,
            loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
            topk=(1,),
        ),
    ),
    lora=dict(rank=8, alpha=1),
    head=dict(policy='frozen', old_classes=100, new_rows_init='xavier'),
)
load_from = 'weights/vit-b16_imagenet100.pth'
