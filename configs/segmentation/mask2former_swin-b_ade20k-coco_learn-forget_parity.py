# The official segmentation recipe on ADE20K with six COCO animals, learn before forget.
_base_ = ['./mask2former_swin-b_ade20k-voc_learn-forget_parity.py']
new_classes = [
    'sheep',
    'cow',
    'elephant',
    'bear',
    'zebra',
    'giraffe',
]
learn_set = dict(
    data_root='data/ade_swap/coco/',
    metainfo=dict(classes=new_classes),
)
swap = dict(classes=dict(learn=new_classes))
train_dataloader = dict(dataset=dict(roles=dict(learn=dict(dataset=learn_set))))
val_dataloader = dict(dataset=dict(roles=dict(learn=dict(dataset=learn_set))))
test_dataloader = val_dataloader
