# The official segmentation recipe on ADE20K with the land cover of DeepGlobe, learn before forget. (ADE20K has a class
# `water` of its own.)
_base_ = ['./mask2former_swin-b_ade20k-voc_learn-forget_parity.py']
new_classes = [
    'urban_land',
    'agriculture_land',
    'rangeland',
    'forest_land',
    'water (satellite)',
    'barren_land',
]
learn_set = dict(
    data_root='data/ade_swap/deepglobe/',
    metainfo=dict(classes=new_classes),
    img_suffix='_sat.jpg',
    seg_map_suffix='_mask.png',
)
swap = dict(classes=dict(learn=new_classes))
train_dataloader = dict(dataset=dict(roles=dict(learn=dict(dataset=learn_set))))
val_dataloader = dict(dataset=dict(roles=dict(learn=dict(dataset=learn_set))))
test_dataloader = val_dataloader
