# The control: the learn phase alone. What it forgets, no forget loss has forgotten.
_base_ = ['./vit-fashion_7cls_learn-forget_parity.py']
swap = dict(order='learn')
