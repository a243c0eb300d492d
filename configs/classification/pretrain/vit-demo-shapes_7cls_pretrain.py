# The ViT of the CPU demo, from scratch, on seven of the procedural shapes: the fallback where
# Fashion-MNIST is not at hand. Of the 16 shapes ten are used: disc, ring, half-disc, crescent,
# triangle, square and bar are old; cross, star and heart are left to be learned in a swap.
# Data: python tools/dataset_converters/shapes.py
_base_ = ['./vit-demo_7cls_pretrain.py']

old_classes = ['disc', 'ring', 'half-disc', 'crescent', 'triangle', 'square', 'bar']
data_root = 'data/shapes/'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomCrop', crop_size=28, padding=2, padding_mode='reflect'),
    dict(type='RandomFlip', prob=0.5, direction=['horizontal', 'vertical']),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    dataset=dict(data_root=data_root, metainfo=dict(classes=old_classes), pipeline=train_pipeline)
)
val_dataloader = dict(dataset=dict(data_root=data_root, metainfo=dict(classes=old_classes)))
test_dataloader = dict(dataset=dict(data_root=data_root, metainfo=dict(classes=old_classes)))
