# Baseline (SalUn style): random labels, and only the half of the entries moves on which the forget loss depends most.
_base_ = ['./vit-fashion_7cls_random-labels.py']
custom_hooks = [
    dict(type='knowswap_mm.PhaseHook'),
    dict(type='knowswap_mm.SaliencyMaskHook', share=0.5),
]
