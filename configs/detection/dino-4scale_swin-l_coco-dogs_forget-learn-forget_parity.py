# The official detection recipe on COCO with five breeds of Stanford Dogs: forget-learn-forget.
_base_ = ['./dino-4scale_swin-l_coco-dogs_learn-forget_parity.py']
swap = dict(order='forget-learn-forget')
