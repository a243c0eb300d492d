# The official segmentation recipe: 6 + 6 images a step in all, AdamW 1e-4 (constant), weight decay 0.05, clipping at
# 0.01, 3,500 iterations a phase, a new optimizer in each, the whole host loss (bound 115). A phase hands over its last
# state, where the official one hands over iteration 3,000.
swap = dict(
    guard=False,  # the official recipe has none
    phase_settings=dict(
        learn=dict(
            iters=3500,
            weights=dict(learn=0.9, retain=1.0, sparsity=0.01),
            restart_optimizer=True,
        ),
        forget=dict(
            iters=3500,
            weights=dict(retain=1.0, forget=0.2, sparsity=0.01),
            bound=115.0,
            restart_optimizer=True,
        ),
    ),
)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
    clip_grad=dict(max_norm=0.01, norm_type=2),
)
param_scheduler = [dict(type='ConstantLR', factor=1.0)]
