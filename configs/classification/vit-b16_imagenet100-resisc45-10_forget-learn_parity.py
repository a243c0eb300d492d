# The official ImageNet-100 recipe, other order: forgets ten old classes, learns ten scenes of RESISC45.
_base_ = ['./vit-b16_imagenet100-resisc45-10_learn-forget_parity.py']
swap = dict(order='forget-learn')
