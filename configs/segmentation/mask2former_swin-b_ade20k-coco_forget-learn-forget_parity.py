# The official segmentation recipe on ADE20K with six COCO animals: forget-learn-forget.
_base_ = ['./mask2former_swin-b_ade20k-coco_learn-forget_parity.py']
swap = dict(order='forget-learn-forget')
