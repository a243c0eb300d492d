# Deep forgetting on Fashion-MNIST, learn before forget: what ../_base_/forget_deep.py says, with the host and the data
# of the other Fashion-MNIST configs (mmengine takes a key from one base alone). docs/forgetting.md
_base_ = ['../_base_/swap_runtime.py', './_base_/vit_fashion.py', './_base_/fashion_mnist.py']
default_scope = 'mmpretrain'
model = dict(loss=dict(type='knowswap_mm.FeatureMatchingLoss'), head=dict(policy='all'))
swap = dict(
    recipe='auto',
    order='learn-forget',
    classes=dict(
        old=['t-shirt', 'trouser', 'pullover', 'dress', 'coat', 'sandal', 'shirt'],
        learn=['sneaker', 'bag', 'boot'],
        forget=['trouser', 'sandal'],
    ),
    phase_settings=dict(forget=dict(weights=dict(forget=1.0))),
)
