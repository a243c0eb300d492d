# Our settings for the small Mask2Former on scenes of shapes: learns four shapes, forgets three of twelve.
_base_ = [
    '../_base_/swap_runtime.py',
    './_base_/mask2former_mini_host.py',
    './_base_/shape_scenes.py',
]
default_scope = 'mmseg'
custom_imports = dict(
    imports=['knowswap_mm', 'knowswap_mm.models.heads', 'mmdet.models'], allow_failed_imports=False
)
model = dict(
    type='knowswap_mm.KnowledgeSwapper',
    host=_base_.mask2former_mini,
    lora=dict(rank=8, alpha=8),
    head=dict(policy='all', old_classes=16),
    fp32_losses=True,
)
model['host']['decode_head']['num_classes'] = 20
model['host']['decode_head']['loss_cls']['class_weight'] = [1.0] * 20 + [0.1]
load_from = 'weights/mask2former-mini_16cls.safetensors'
swap = dict(
    order='learn-forget',
    guard=False,  # the documented figures were recorded without it
    classes=dict(
        old=_base_.old_classes,
        learn=['t-shape', 'u-shape', 'hourglass', 'zigzag'],
        forget=['triangle', 'star', 'heart'],
    ),
    phase_settings=dict(
        learn=dict(iters=450, weights=dict(learn=1.0, retain=1.0, sparsity=0.01)),
        forget=dict(
            iters=300,
            split=dict(forget=4, retain=12),
            weights=dict(retain=1.0, forget=0.1, sparsity=0.01),
            bound=45.0,
            merged_share=0.4,
        ),
    ),
)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4),
    clip_grad=dict(max_norm=0.1, norm_type=2),
)
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=1e-5)]
