# As vit_dinov2-s_grocery_pretrain.py, on all fruits but the five that the swap forgets: the host of a reference, which
# never sees them. Their rows stay in the head, so that the labels are those of the swap. Data: docs/real.md
_base_ = ['./vit_dinov2-s_grocery_pretrain.py']
unseen = dict(
    type='knowswap_mm.RoleDataset',
    classes=dict(
        old='data/real/grocery/old/classes.txt',
        learn=[],
        forget=['Red-Delicious', 'Lemon', 'Galia-Melon', 'Papaya', 'Satsumas'],
    ),
)
train_photos = _base_.train_dataloader.dataset
val_photos = _base_.val_dataloader.dataset
test_photos = _base_.test_dataloader.dataset
train_dataloader = dict(
    dataset=dict(_delete_=True, **unseen, roles=dict(retain=dict(dataset=train_photos)))
)
val_dataloader = dict(
    dataset=dict(_delete_=True, **unseen, roles=dict(retain=dict(dataset=val_photos)))
)
test_dataloader = dict(
    dataset=dict(_delete_=True, **unseen, roles=dict(retain=dict(dataset=test_photos)))
)
