# The official recipe on ImageNet-100: learns five breeds of Oxford-IIIT Pet, forgets five old classes.
_base_ = ['./vit-b16_imagenet100_learn-forget_parity.py']
learn = dict(dataset=dict(data_root='data/imagenet100_swap/pet-5/'))
train_dataloader = dict(dataset=dict(roles=dict(learn=learn)))
val_dataloader = dict(dataset=dict(roles=dict(learn=learn)))
test_dataloader = val_dataloader
