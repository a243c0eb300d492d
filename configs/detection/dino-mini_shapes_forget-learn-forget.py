# The small DINO on scenes of shapes: forget-learn-forget.
_base_ = ['./dino-mini_shapes_learn-forget.py']
swap = dict(order='forget-learn-forget')
