# Our recommended settings on Fashion-MNIST, forget before learn.
_base_ = ['./vit-fashion_7cls_learn-forget.py']
swap = dict(order='forget-learn')
