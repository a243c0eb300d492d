# As the parity config with our recommended settings: see `dino-4scale_swin-l_coco-cub_learn-forget.py`.
_base_ = ['./dino-4scale_swin-l_coco-dogs_learn-forget_parity.py']
model = dict(head=dict(policy='all'), loss=dict(group_exclude=[]))
swap = dict(phase_settings=dict(forget=dict(merged_share=0.4)))
