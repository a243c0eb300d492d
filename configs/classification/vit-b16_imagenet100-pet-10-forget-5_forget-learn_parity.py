# The official recipe on ImageNet-100 as its README has it, forget before learn: forgets five old classes, learns ten
# breeds of Oxford-IIIT Pet.
_base_ = ['./vit-b16_imagenet100-pet-10-forget-5_learn-forget_parity.py']
swap = dict(order='forget-learn')
