# The official ImageNet-100 recipe, other order: forgets ten old classes, learns ten birds of CUB-200-2011.
_base_ = ['./vit-b16_imagenet100-cub-10_learn-forget_parity.py']
swap = dict(order='forget-learn')
