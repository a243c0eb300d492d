# The reference for learning: the learn phase alone, as long as a whole swap, with everything old retained. It says how
# well the new classes can be learned if nothing has to be forgotten.
_base_ = ['./dino-mini_shapes_learn-forget.py']
swap = dict(
    order='learn',
    classes=dict(forget=None),
    phase_settings=dict(learn=dict(iters=650)),
)
train_dataloader = dict(
    dataset=dict(
        roles=dict(
            _delete_=True,
            learn=dict(dataset=_base_.new_train, mixed='drop_image'),
            retain=dict(dataset=_base_.old_train, mixed='drop_image'),
        )
    )
)
val_dataloader = dict(
    dataset=dict(
        roles=dict(
            _delete_=True,
            learn=dict(dataset=_base_.new_val, mixed='drop_image'),
            retain=dict(dataset=_base_.old_val, mixed='drop_boxes'),
        )
    )
)
test_dataloader = dict(
    dataset=dict(
        roles=dict(
            _delete_=True,
            learn=dict(dataset=_base_.new_test, mixed='drop_image'),
            retain=dict(dataset=_base_.old_test, mixed='drop_boxes'),
        )
    )
)
