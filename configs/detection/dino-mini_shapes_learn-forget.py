# Our settings for the small DINO on scenes of shapes: learns four shapes, forgets three of twelve.
_base_ = [
    '../_base_/swap_runtime.py',
    './_base_/dino_mini_host.py',
    './_base_/shape_scenes.py',
]
default_scope = 'mmdet'
custom_imports = dict(imports=['knowswap_mm'], allow_failed_imports=False)
model = dict(
    type='knowswap_mm.KnowledgeSwapper',
    host=_base_.dino_mini,
    lora=dict(rank=8, alpha=8),
    head=dict(policy='all', old_classes=12),
    fuse='always',
    fp32_losses=True,
)
model['host']['bbox_head']['num_classes'] = 16
load_from = 'weights/dino-mini_12cls.safetensors'
swap = dict(
    order='learn-forget',
    guard=False,  # the documented figures were recorded without it
    classes=dict(
        old=[
            'disc',
            'ring',
            'half-disc',
            'crescent',
            'triangle',
            'square',
            'bar',
            'cross',
            'star',
            'heart',
            'arrow',
            'l-shape',
        ],  # fmt: skip
        learn=['t-shape', 'u-shape', 'hourglass', 'zigzag'],
        forget=['triangle', 'star', 'heart'],
    ),
    phase_settings=dict(
        learn=dict(iters=400, weights=dict(learn=1.0, retain=1.0, sparsity=0.01)),
        # Few forget images a batch, a small weight and a low bound: forgetting is quick, what takes time is
        # to fix the rest meanwhile.
        forget=dict(
            iters=250,
            split=dict(forget=4, retain=12),
            weights=dict(retain=1.0, forget=0.1, sparsity=0.01),
            bound=15.0,
            merged_share=0.34,
        ),
    ),
)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4),
    clip_grad=dict(max_norm=0.1, norm_type=2),
)
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=1e-5)]
