# The control: the learn phase alone, which nobody told to forget.
_base_ = ['./mask2former-mini_shapes_learn-forget.py']
swap = dict(order='learn')
