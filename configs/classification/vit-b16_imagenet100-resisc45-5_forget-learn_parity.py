# The official ImageNet-100 recipe, other order: forgets five old classes, learns five scenes of RESISC45.
_base_ = ['./vit-b16_imagenet100-resisc45-5_learn-forget_parity.py']
swap = dict(order='forget-learn')
