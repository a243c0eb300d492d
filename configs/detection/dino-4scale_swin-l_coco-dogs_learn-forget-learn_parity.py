# The official detection recipe on COCO with five breeds of Stanford Dogs: learn-forget-learn.
_base_ = ['./dino-4scale_swin-l_coco-dogs_learn-forget_parity.py']
swap = dict(order='learn-forget-learn')
