# From stock COCO weights with 80 classes: first the rows of the new classes alone train (`expand`), then the swap. Our way
# to a start; that of the authors is unknown. Not measured on COCO, whose images we cannot ship.
_base_ = ['./dino-4scale_swin-l_coco-cub_learn-forget_parity.py']
model = dict(head=dict(policy='new_rows'), loss=dict(group_exclude=[]))
swap = dict(
    order='expand-learn-forget',
    phase_settings=dict(
        expand=dict(epochs=5, weights=dict(learn=1.0, retain=1.0)),
        forget=dict(merged_share=0.4),
    ),
)
