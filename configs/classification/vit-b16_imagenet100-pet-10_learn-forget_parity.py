# The official recipe on ImageNet-100: learns ten breeds of Oxford-IIIT Pet, forgets ten old classes.
_base_ = ['./vit-b16_imagenet100_learn-forget_parity.py']
learn = dict(dataset=dict(data_root='data/imagenet100_swap/pet-10/'))
old = dict(dataset=dict(data_root='data/imagenet100_swap/ten/'))
train_dataloader = dict(dataset=dict(roles=dict(learn=learn, forget=old, retain=old)))
val_dataloader = dict(dataset=dict(roles=dict(learn=learn, forget=old, retain=old)))
test_dataloader = val_dataloader
