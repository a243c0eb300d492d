# The official segmentation recipe on ADE20K with the land cover of DeepGlobe: forget-learn.
_base_ = ['./mask2former_swin-b_ade20k-deepglobe_learn-forget_parity.py']
swap = dict(order='forget-learn')
