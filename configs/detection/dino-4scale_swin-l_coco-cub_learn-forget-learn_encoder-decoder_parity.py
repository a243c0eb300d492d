# What the official run effectively trains, on five CUB birds, learn-forget-learn: encoder and decoder alone.
_base_ = ['./dino-4scale_swin-l_coco-cub_learn-forget_encoder-decoder_parity.py']
swap = dict(order='learn-forget-learn')
