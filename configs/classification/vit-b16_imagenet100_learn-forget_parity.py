# The official ImageNet-100 recipe, learn before forget, on the official three folders.
_base_ = [
    '../_base_/swap_runtime.py',
    './_base_/vit-b16.py',
    './_base_/imagenet100_folders.py',
    './_base_/swap_parity.py',
]
default_scope = 'mmpretrain'
swap = dict(order='learn-forget', classes=dict(old='leading_integer'))
randomness = dict(seed=1337)
auto_scale_lr = dict(base_batch_size=160, enable=False)
