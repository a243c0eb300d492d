# Baseline: one phase with all three roles. 40 epochs of the retain data are 1,400 iterations; learn-forget has 1,380.
_base_ = ['../vit-fashion_7cls_learn-forget.py']
swap = dict(
    order='joint',
    phase_settings=dict(
        joint=dict(
            epochs=40,
            split=dict(learn=40, forget=40, retain=80),
            weights=dict(learn=1.0, retain=1.0, forget=0.2, sparsity=0.005),
            bound=105.0,
        )
    ),
)
