# The official detection recipe on COCO with five CUB birds: forget-learn.
_base_ = ['./dino-4scale_swin-l_coco-cub_learn-forget_parity.py']
swap = dict(order='forget-learn')
