# Mask2Former with Swin-T: ADE20K as it is distributed learns six VOC animals and forgets vehicles. Head rows train and
# learned data takes a third of the retain slots, which was better on scenes of shapes; not measured on ADE20K.
_base_ = [
    '../_base_/swap_runtime.py',
    './_base_/mask2former_swin-b.py',
    './_base_/ade20k_folders.py',
    './_base_/swap_parity.py',
]
default_scope = 'mmseg'
custom_imports = dict(
    imports=['knowswap_mm', 'knowswap_mm.models.heads', 'mmdet.models'], allow_failed_imports=False
)
model = dict(
    host=dict(
        backbone=dict(
            pretrain_img_size=224,
            embed_dims=96,
            depths=(2, 2, 6, 2),
            num_heads=(3, 6, 12, 24),
            window_size=7,
        ),
        decode_head=dict(in_channels=[96, 192, 384, 768]),
    )
)
load_from = 'weights/mask2former_swin-t_ade20k-512x512.pth'
swap = dict(
    order='learn-forget',
    classes=dict(
        old='category_id', learn=_base_.new_classes, forget=['bus', 'truck', 'van', 'minibike']
    ),
    phase_settings=dict(forget=dict(merged_share=0.34)),
)
