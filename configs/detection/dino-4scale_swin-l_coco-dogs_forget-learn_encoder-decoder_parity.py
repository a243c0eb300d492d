# What the official run effectively trains, on five Stanford Dogs, forget-learn: encoder and decoder alone.
_base_ = ['./dino-4scale_swin-l_coco-dogs_learn-forget_encoder-decoder_parity.py']
swap = dict(order='forget-learn')
