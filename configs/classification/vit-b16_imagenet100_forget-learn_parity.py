# The official ImageNet-100 recipe, forget before learn.
_base_ = ['./vit-b16_imagenet100_learn-forget_parity.py']
swap = dict(order='forget-learn')
