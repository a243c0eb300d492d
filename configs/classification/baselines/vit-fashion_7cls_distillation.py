# Baseline (SCRUB style): learn, then leave the original model on forget data and stay with it on retained data; the
# last two of the five epochs only stay. The weight is half of the ascent's: at temperature 2 gradients are twice as large.
_base_ = ['../vit-fashion_7cls_learn-forget.py']
model = dict(loss=dict(type='knowswap_mm.DistillationForgettingLoss'))
leave = dict(
    kind='forget',
    epochs=3,
    weights=dict(retain=1.0, forget=0.1, sparsity=0.005),
    bound='none',
    merge_learned=True,
    merged_share=0.3,
)
swap = dict(
    order=None,
    phase_settings=None,
    phases=[
        dict(kind='learn', epochs=5, weights=dict(learn=1.0, retain=0.2, sparsity=0.005)),
        leave,
        dict(
            leave, epochs=2, weights=dict(retain=1.0, forget=0.0, sparsity=0.005), restart_lr=False
        ),
    ],
)
