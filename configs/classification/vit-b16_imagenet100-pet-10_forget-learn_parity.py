# The official ImageNet-100 recipe, other order: forgets ten old classes, learns ten breeds of Oxford-IIIT Pet.
_base_ = ['./vit-b16_imagenet100-pet-10_learn-forget_parity.py']
swap = dict(order='forget-learn')
