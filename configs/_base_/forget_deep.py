# Deep forgetting: the features of forgotten classes are emptied, too, not only the answers (docs/forgetting.md).
# The numbers are the recipe's; any of them can be given all the same, and wins.
_base_ = ['./swap_auto.py']
model = dict(loss=dict(type='knowswap_mm.FeatureMatchingLoss'), head=dict(policy='all'))
# The matching has a weight of its own, which is steered.
swap = dict(phase_settings=dict(forget=dict(weights=dict(forget=1.0))))
