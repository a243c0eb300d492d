# A ViT of 0.7 M parameters for 28 px images: seven old and three new classes.
# The weights come from configs/classification/pretrain/vit-fashion_7cls_pretrain.py.
model = dict(
    type='knowswap_mm.KnowledgeSwapper',
    host=dict(
        type='ImageClassifier',
        data_preprocessor=dict(
            type='ClsDataPreprocessor', mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True
        ),
        backbone=dict(
            type='VisionTransformer',
            arch=dict(embed_dims=96, num_layers=6, num_heads=4, feedforward_channels=384),
            img_size=28,
            patch_size=4,
            drop_rate=0.1,
        ),
        neck=None,
        head=dict(
            type='VisionTransformerClsHead',
            num_classes=10,
            in_channels=96,
            cal_acc=True,
            loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
            topk=(1,),
        ),
    ),
    lora=dict(),
    head=dict(policy='frozen', old_classes=7, new_rows_init='xavier'),
)
load_from = 'weights/vit-fashion_7cls.safetensors'
