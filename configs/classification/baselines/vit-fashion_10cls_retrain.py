# Baseline: the same ViT from scratch with the recipe of its pretraining, on the retained and the learned classes. It
# never sees a trouser or a sandal; their rows stay in the head, so that the labels are those of the swap.
# Data: python tools/dataset_converters/fashion_mnist.py
_base_ = ['../pretrain/vit-fashion_7cls_pretrain.py']
classes = [
    't-shirt', 'trouser', 'pullover', 'dress', 'coat', 'sandal', 'shirt', 'sneaker', 'bag', 'boot',
]  # fmt: skip
model = dict(data_preprocessor=dict(num_classes=10), head=dict(num_classes=10))
# Without it (mmpretrain's own tool adds it) each image is copied to the device by itself: five times as slow.
collate = dict(type='default_collate')
train_dataloader = dict(
    collate_fn=collate,
    dataset=dict(ann_file='meta/retrain8_train.txt', metainfo=dict(classes=classes)),
)
val_dataloader = dict(
    collate_fn=collate,
    dataset=dict(ann_file='meta/retrain8_val.txt', metainfo=dict(classes=classes)),
)
test_dataloader = dict(
    collate_fn=collate,
    dataset=dict(ann_file='meta/retrain8_test.txt', metainfo=dict(classes=classes)),
)
