# The official classification recipe: 80 + 80 images a step, AdamW 1e-2, a cosine per epoch that restarts with each
# phase, 5 epochs of the retain data a phase, 10 % of the forget and retain data, frozen head.
swap = dict(
    guard=False,  # the official recipe has none
    phase_settings=dict(
        learn=dict(epochs=5, weights=dict(learn=1.0, retain=0.2, sparsity=0.005)),
        forget=dict(epochs=5, weights=dict(retain=1.0, forget=0.2, sparsity=0.005), bound=105.0),
    ),
)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-2, weight_decay=0.05))
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True)]
