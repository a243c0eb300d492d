# The official recipe on ImageNet-100 as its README has it, forget before learn: forgets five old classes, learns ten
# scenes of RESISC45.
_base_ = ['./vit-b16_imagenet100-resisc45-10-forget-5_learn-forget_parity.py']
swap = dict(order='forget-learn')
