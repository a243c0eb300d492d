# The reference for learning: the learn phase alone, as long as a whole swap, with everything old retained: forget
# classes play the role retain.
_base_ = ['./dino-mini_shapes_learn-forget.py']
swap = dict(
    order='learn',
    classes=dict(forget=[]),
    phase_settings=dict(learn=dict(iters=450)),
)
train_dataloader = dict(dataset=dict(roles=dict(forget=dict(_delete_=True))))
