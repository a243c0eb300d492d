# Our recommended settings on the ImageNet-100 folders: the rows of the head train, and learned data takes
# 30 % of the retain slots. Both were chosen on Fashion-MNIST (docs/results.md); on ImageNet-100 we have
# not measured them, because we cannot ship those images.
_base_ = ['./vit-b16_imagenet100_learn-forget_parity.py']
model = dict(head=dict(policy='all'))
swap = dict(phase_settings=dict(forget=dict(merged_share=0.3)))
