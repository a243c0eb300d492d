# UPerNet with Swin-T on the same data: another architecture of mmseg, by config alone. It labels pixels one by one, so
# unlabelled ones (255) are ignored by its loss; its whole loss is a cross entropy of a few nats, hence the bound.
_base_ = [
    '../_base_/swap_runtime.py',
    './_base_/ade20k_folders.py',
    './_base_/swap_parity.py',
]
default_scope = 'mmseg'
custom_imports = dict(imports=['knowswap_mm'], allow_failed_imports=False)
model = dict(
    type='knowswap_mm.KnowledgeSwapper',
    host=dict(
        type='EncoderDecoder',
        data_preprocessor=dict(
            type='SegDataPreProcessor',
            pad_val=0,
            seg_pad_val=255,
            size=(640, 640),
            test_cfg=dict(size_divisor=32),
        ),
        backbone=dict(
            type='SwinTransformer',
            pretrain_img_size=224,
            embed_dims=96,
            depths=(2, 2, 6, 2),
            num_heads=(3, 6, 12, 24),
            window_size=7,
            mlp_ratio=4,
            qkv_bias=True,
            drop_path_rate=0.3,
            patch_norm=True,
            out_indices=(0, 1, 2, 3),
            init_cfg=None,
        ),
        decode_head=dict(
            type='UPerHead',
            in_channels=[96, 192, 384, 768],
            in_index=[0, 1, 2, 3],
            pool_scales=(1, 2, 3, 6),
            channels=512,
            dropout_ratio=0.1,
            num_classes=156,
            norm_cfg=dict(type='BN'),
            align_corners=False,
            loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
        ),
        auxiliary_head=dict(
            type='FCNHead',
            in_channels=384,
            in_index=2,
            channels=256,
            num_convs=1,
            concat_input=False,
            dropout_ratio=0.1,
            num_classes=156,
            norm_cfg=dict(type='BN'),
            align_corners=False,
            loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.4),
        ),
        train_cfg=dict(),
        test_cfg=dict(mode='whole'),
    ),
    lora=dict(rank=8, alpha=1),
    head=dict(policy='all', old_classes=150),
)
load_from = 'weights/upernet_swin-t_ade20k-512x512.pth'
swap = dict(
    order='learn-forget',
    classes=dict(
        old='category_id', learn=_base_.new_classes, forget=['bus', 'truck', 'van', 'minibike']
    ),
    phase_settings=dict(forget=dict(merged_share=0.34, bound=8.0)),
)
