# The official segmentation recipe on ADE20K with six VOC classes, learn before forget. As in the official code, learn
# images are normalised with the statistics of Oxford-IIIT Pet whatever the learn set is.
_base_ = [
    '../_base_/swap_runtime.py',
    './_base_/mask2former_swin-b.py',
    './_base_/official_folders.py',
    './_base_/swap_parity.py',
]
default_scope = 'mmseg'
custom_imports = dict(imports=['knowswap_mm', 'mmdet.models'], allow_failed_imports=False)
model = dict(head=dict(policy='frozen'))
# The labels of public ADE20K weights: 150 classes in the order of their ids.
swap = dict(
    order='learn-forget',
    classes=dict(old='category_id', learn=['bird', 'cat', 'cow', 'dog', 'horse', 'sheep']),
)
pet_statistics = dict(
    type='Normalize', mean=[119.734, 109.833, 94.848], std=[57.671, 57.199, 58.465], to_rgb=True
)
learn_train_pipeline = [*_base_.resize_and_crop, pet_statistics, dict(type='PackSegInputs')]
learn_test_pipeline = [*_base_.resize, pet_statistics, dict(type='PackSegInputs')]
train_dataloader = dict(
    dataset=dict(roles=dict(learn=dict(dataset=dict(pipeline=learn_train_pipeline))))
)
val_dataloader = dict(
    dataset=dict(roles=dict(learn=dict(dataset=dict(pipeline=learn_test_pipeline))))
)
test_dataloader = val_dataloader
randomness = dict(seed=42)
auto_scale_lr = dict(base_batch_size=12, enable=False)
