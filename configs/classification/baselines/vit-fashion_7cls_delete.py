# Baseline (DELETE style): learn, then distil the model of that moment: its answers with the forgotten classes masked
# out on forget data, its own answers beside the labels on retained data.
_base_ = ['../vit-fashion_7cls_learn-forget.py']
model = dict(loss=dict(type='knowswap_mm.DecoupledDistillationLoss'))
custom_hooks = [dict(type='knowswap_mm.PhaseHook'), dict(type='knowswap_mm.TeacherHook')]
swap = dict(phase_settings=dict(forget=dict(weights=dict(forget=1.0), bound='none')))
