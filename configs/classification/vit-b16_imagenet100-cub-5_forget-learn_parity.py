# The official ImageNet-100 recipe, other order: forgets five old classes, learns five birds of CUB-200-2011.
_base_ = ['./vit-b16_imagenet100-cub-5_learn-forget_parity.py']
swap = dict(order='forget-learn')
