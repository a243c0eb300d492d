# Baseline (EWC): the learn phase alone, with an elastic penalty on the weights that retained classes depend on. It
# differs from fine-tuning in that term only; no loss forgets anything.
_base_ = ['../vit-fashion_7cls_learn.py']
model = dict(loss=dict(type='knowswap_mm.ElasticWeightLoss', strength=1000.0))
custom_hooks = [
    dict(type='knowswap_mm.PhaseHook'),
    dict(type='knowswap_mm.FisherHook', samples=512),
]
