# From stock ADE20K weights with 150 classes: first the rows of the new classes alone train (`expand`), then the swap. Our
# way to a start; that of the authors is unknown. Not measured on ADE20K, whose images we cannot ship.
_base_ = ['./mask2former_swin-b_ade20k-voc_learn-forget_parity.py']
model = dict(head=dict(policy='new_rows'))
swap = dict(
    order='expand-learn-forget',
    phase_settings=dict(
        expand=dict(iters=1000, weights=dict(learn=1.0, retain=1.0)),
        forget=dict(merged_share=0.4),
    ),
)
