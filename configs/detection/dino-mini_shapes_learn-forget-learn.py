# The small DINO on scenes of shapes: learn-forget-learn.
_base_ = ['./dino-mini_shapes_learn-forget.py']
swap = dict(order='learn-forget-learn')
