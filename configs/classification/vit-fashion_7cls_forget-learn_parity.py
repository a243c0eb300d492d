# The official recipe on Fashion-MNIST, forget before learn.
_base_ = ['./vit-fashion_7cls_learn-forget_parity.py']
swap = dict(order='forget-learn')
