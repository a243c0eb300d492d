# Baseline (UNDO style): learn, forget by bounded ascent, then damage all weights and distil the forgetful model back
# into them. All weights train, as an adapter cannot damage what lies beneath it, and there is a phase more.
_base_ = ['../vit-fashion_7cls_learn-forget.py']
model = dict(
    type='knowswap_mm.FullTrainingSwapper', lora=None, loss=dict(type='knowswap_mm.UndoLoss')
)
custom_hooks = [dict(type='knowswap_mm.PhaseHook'), dict(type='knowswap_mm.UndoHook')]
swap = dict(
    order=None,
    phase_settings=None,
    phases=[
        dict(kind='learn', epochs=5, weights=dict(learn=1.0, retain=0.2, sparsity=0.0)),
        dict(
            kind='forget',
            epochs=5,
            weights=dict(retain=1.0, forget=0.2, sparsity=0.0),
            bound=105.0,
            merge_learned=True,
            merged_share=0.3,
        ),
        dict(
            kind='forget',
            epochs=5,
            weights=dict(retain=1.0, forget=1.0, sparsity=0.0),
            bound='none',
            merge_learned=True,
            merged_share=0.3,
            restart_optimizer=True,
        ),
    ],
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))  # that of the pretraining
