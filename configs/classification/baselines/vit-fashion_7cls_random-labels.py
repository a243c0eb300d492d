# Baseline: learn, then fit the forget data to random labels of classes that are not forgotten.
_base_ = ['../vit-fashion_7cls_learn-forget.py']
model = dict(loss=dict(type='knowswap_mm.WeightedSumLoss'))
train_dataloader = dict(
    dataset=dict(roles=dict(forget=dict(view='knowswap_mm.RandomLabelRoleView')))
)
swap = dict(phase_settings=dict(forget=dict(weights=dict(forget=1.0), bound='none')))
