# The official ImageNet-100 recipe as its README has it: learns ten leaves of PlantVillage, forgets five old classes.
# (The paper's tables forget ten: `vit-b16_imagenet100-plantvillage-10_learn-forget_parity.py`.)
_base_ = ['./vit-b16_imagenet100_learn-forget_parity.py']
learn = dict(dataset=dict(data_root='data/imagenet100_swap/plantvillage-10/'))
train_dataloader = dict(dataset=dict(roles=dict(learn=learn)))
val_dataloader = dict(dataset=dict(roles=dict(learn=learn)))
test_dataloader = val_dataloader
