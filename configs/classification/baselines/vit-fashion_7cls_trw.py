# Baseline (TRW style): as the one in the style of DELETE, with the masked answers tilted towards similar classes.
_base_ = ['./vit-fashion_7cls_delete.py']
model = dict(loss=dict(type='knowswap_mm.TiltedReweightingLoss'))
