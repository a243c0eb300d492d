# The official ImageNet-100 recipe, other order: forgets five old classes, learns five leaves of PlantVillage.
_base_ = ['./vit-b16_imagenet100-plantvillage-5_learn-forget_parity.py']
swap = dict(order='forget-learn')
