# UPerNet on four depths of a DINOv2 ViT-S/14, for the nine old classes of CamVid.
_base_ = ['./dinov2_small.py']
norm_cfg = dict(type='BN')
upernet = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(294, 392),
        test_cfg=dict(size_divisor=14),
        **_base_.imagenet,
    ),
    backbone=_base_.dinov2_small_maps,
    neck=dict(type='Feature2Pyramid', embed_dim=384, norm_cfg=norm_cfg),
    decode_head=dict(
        type='UPerHead',
        in_channels=[384] * 4,
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=256,
        dropout_ratio=0.1,
        num_classes=9,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
