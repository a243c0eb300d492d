# Baseline: learn, then gradient ascent on the forget data without a bound.
_base_ = ['../vit-fashion_7cls_learn-forget.py']
model = dict(loss=dict(type='knowswap_mm.GradientAscentLoss'))
swap = dict(phase_settings=dict(forget=dict(bound='none')))
