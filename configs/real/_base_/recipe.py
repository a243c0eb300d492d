# The recipe of all swaps here.
swap = dict(
    phase_settings=dict(
        learn=dict(iters=100, weights=dict(learn=1.0, retain=1.0, sparsity=0.005)),
        forget=dict(
            iters=100,
            weights=dict(retain=1.0, forget=0.2, sparsity=0.005),
            bound=7.0,
            merged_share=0.3,
        ),
    )
)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=1e-5)]
