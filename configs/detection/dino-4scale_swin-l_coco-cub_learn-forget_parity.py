# The official detection recipe on COCO with five CUB birds, learn before forget. As in the official code, the
# group-sparse term leaves the decoder out. (There, re-entrant checkpointing also kept task gradients from the backbone's
# adapters; `dino-4scale_swin-l_coco-cub_learn-forget_encoder-decoder_parity.py` reproduces what that trains.)
_base_ = [
    '../_base_/swap_runtime.py',
    './_base_/dino-4scale_swin-l.py',
    './_base_/coco_folders.py',
    './_base_/swap_parity.py',
]
default_scope = 'mmdet'
model = dict(
    head=dict(policy='frozen'),
    loss=dict(type='knowswap_mm.SwappingLoss', group_exclude=[r'^decoder\.']),
)
# The labels of public COCO weights: the 80 categories in the order of their ids.
swap = dict(order='learn-forget', classes=dict(old='category_id'))
randomness = dict(seed=42)
auto_scale_lr = dict(base_batch_size=8, enable=False)
