# Baseline: fine-tuning alone. The learn phase of our settings; no loss forgets anything.
_base_ = ['../vit-fashion_7cls_learn.py']
