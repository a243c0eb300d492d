# The official segmentation recipe on ADE20K with six breeds of Oxford-IIIT Pet: learn-forget-learn.
_base_ = ['./mask2former_swin-b_ade20k-pet_learn-forget_parity.py']
swap = dict(order='learn-forget-learn')
