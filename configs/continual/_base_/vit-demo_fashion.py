# Three swaps in a row with the small ViT of the demo and its settings. Each config of the chain gives the
# classes; the head grows by one row a swap.
_base_ = ['../../demo/vit-demo_fashion-mnist_learn-forget.py']
