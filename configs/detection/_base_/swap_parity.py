# The official detection recipe: 2 + 2 images a GPU and step, AdamW 1e-4 (constant), 20 epochs of the retain data a
# phase, gradient clipping 0.1, the whole host loss (bound 15), frozen head. Here the learn loss has the weight 0.9 and
# retain 1, other than in classification. The weight of the sparse term is 0.01 in the official code, whose gradient is
# divided by the number of processes: 0.005 in its run on two GPUs, which is what this recipe repeats on any number.
swap = dict(
    guard=False,  # the official recipe has none
    phase_settings=dict(
        learn=dict(epochs=20, weights=dict(learn=0.9, retain=1.0, sparsity=0.005)),
        forget=dict(epochs=20, weights=dict(retain=1.0, forget=0.2, sparsity=0.005), bound=15.0),
    ),
)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4),
    clip_grad=dict(max_norm=0.1, norm_type=2),
)
param_scheduler = [dict(type='ConstantLR', factor=1.0)]
