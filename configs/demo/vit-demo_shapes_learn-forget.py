# The demo on procedural shapes, for machines without the files of Fashion-MNIST.
_base_ = ['./vit-demo_fashion-mnist_learn-forget.py']

data_root = 'data/shapes/'
load_from = 'weights/vit-demo-shapes_7cls.safetensors'
swap = dict(
    classes=dict(
        old=['disc', 'ring', 'half-disc', 'crescent', 'triangle', 'square', 'bar'],
        learn=['cross', 'star', 'heart'],
        forget=['ring', 'square'],
    )
)
train_dataloader = dict(
    dataset=dict(
        roles=dict(
            learn=dict(dataset=dict(data_root=data_root)),
            forget=dict(dataset=dict(data_root=data_root)),
            retain=dict(dataset=dict(data_root=data_root)),
        )
    )
)
val_dataloader = dict(
    dataset=dict(
        roles=dict(
            learn=dict(dataset=dict(data_root=data_root)),
            forget=dict(dataset=dict(data_root=data_root)),
            retain=dict(dataset=dict(data_root=data_root)),
        )
    )
)
test_dataloader = val_dataloader
