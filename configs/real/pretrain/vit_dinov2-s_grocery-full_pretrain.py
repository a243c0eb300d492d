# The whole DINOv2 ViT-S/14 trains with its head.
_base_ = ['./vit_dinov2-s_grocery_pretrain.py']
model = dict(backbone=dict(frozen_stages=-1, drop_path_rate=0.1))
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.03))),
    clip_grad=dict(max_norm=1.0),
)
