# The control with our recommended settings: the learn phase alone.
_base_ = ['./vit-fashion_7cls_learn-forget.py']
swap = dict(order='learn')
