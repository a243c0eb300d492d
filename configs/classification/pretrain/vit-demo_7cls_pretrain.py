# The smaller ViT of the CPU demo (0.46 M parameters, 16 + 1 tokens), from scratch, on the seven old
# classes of Fashion-MNIST.
# Data: python tools/dataset_converters/fashion_mnist.py
_base_ = ['./vit-fashion_7cls_pretrain.py']

model = dict(
    backbone=dict(
        arch=dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384), patch_size=7
    )
)
