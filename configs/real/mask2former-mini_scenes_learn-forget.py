# The small Mask2Former on scenes of shapes, with the recipe of all swaps here.
_base_ = [
    '../_base_/swap_runtime.py',
    '../segmentation/_base_/mask2former_mini_host.py',
    '../segmentation/_base_/shape_scenes.py',
    './_base_/recipe.py',
]
default_scope = 'mmseg'
custom_imports = dict(
    imports=['knowswap_mm', 'knowswap_mm.models.heads', 'mmdet.models'], allow_failed_imports=False
)
load_from = 'weights/mask2former-mini_16cls.safetensors'
swap = dict(
    order='learn-forget',
    classes=dict(
        old=_base_.old_classes,
        learn=['t-shape', 'u-shape', 'hourglass', 'zigzag'],
        forget=['triangle', 'star', 'heart'],
    ),
)
model = dict(
    type='knowswap_mm.KnowledgeSwapper',
    host=_base_.mask2former_mini,
    lora=dict(),
    head=dict(old_classes=16),
    fp32_losses=True,
)
model['host']['decode_head']['num_classes'] = 20
model['host']['decode_head']['loss_cls']['class_weight'] = [1.0] * 20 + [0.1]
