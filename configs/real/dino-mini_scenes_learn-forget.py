# The small DINO on scenes of shapes, with the recipe of all swaps here.
_base_ = [
    '../_base_/swap_runtime.py',
    '../detection/_base_/dino_mini_host.py',
    '../detection/_base_/shape_scenes.py',
    './_base_/recipe.py',
]
default_scope = 'mmdet'
custom_imports = dict(imports=['knowswap_mm'], allow_failed_imports=False)
load_from = 'weights/dino-mini_12cls.safetensors'
swap = dict(
    order='learn-forget',
    classes=dict(
        old=[
            'disc', 'ring', 'half-disc', 'crescent', 'triangle', 'square',
            'bar', 'cross', 'star', 'heart', 'arrow', 'l-shape',
        ],
        learn=['t-shape', 'u-shape', 'hourglass', 'zigzag'],
        forget=['triangle', 'star', 'heart'],
    ),
)  # fmt: skip
model = dict(
    type='knowswap_mm.KnowledgeSwapper',
    host=_base_.dino_mini,
    lora=dict(),
    head=dict(old_classes=12),
    fuse='always',
    fp32_losses=True,
)
model['host']['bbox_head']['num_classes'] = 16
