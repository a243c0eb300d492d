# DINOv2 ViT-S/14, with its 37 x 37 positions: as a classifier's backbone, and with maps of four depths for detectors and
# segmentors, which a neck makes a pyramid of.
# Weights: knowswap convert huggingface-dinov2 model.safetensors --out data/real/dinov2_small.pth
dinov2_small = dict(
    type='mmpretrain.VisionTransformer',
    arch='dinov2-small',
    img_size=518,
    patch_size=14,
    layer_scale_init_value=1e-5,
)
dinov2_small_maps = dict(
    **dinov2_small,
    out_type='featmap',
    out_indices=[2, 5, 8, 11],
)
dinov2_weights = dict(
    type='Pretrained', checkpoint='data/real/dinov2_small.pth', prefix='backbone.'
)
imagenet = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
