# The official ImageNet-100 recipe, other order: forgets ten old classes, learns ten leaves of PlantVillage.
_base_ = ['./vit-b16_imagenet100-plantvillage-10_learn-forget_parity.py']
swap = dict(order='forget-learn')
