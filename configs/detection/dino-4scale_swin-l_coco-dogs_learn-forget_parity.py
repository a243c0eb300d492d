# The official detection recipe on COCO with five breeds of Stanford Dogs, learn before forget.
_base_ = ['./dino-4scale_swin-l_coco-cub_learn-forget_parity.py']
learn = dict(dataset=dict(data_root='data/coco_swap/dogs/'))
train_dataloader = dict(dataset=dict(roles=dict(learn=learn)))
val_dataloader = dict(dataset=dict(roles=dict(learn=learn)))
test_dataloader = dict(dataset=dict(roles=dict(learn=learn)))
