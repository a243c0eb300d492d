# The official ImageNet-100 recipe, other order: forgets five old classes, learns five breeds of Oxford-IIIT Pet.
_base_ = ['./vit-b16_imagenet100-pet-5_learn-forget_parity.py']
swap = dict(order='forget-learn')
