# The small Mask2Former on scenes of shapes: forget-learn-forget.
_base_ = ['./mask2former-mini_shapes_learn-forget.py']
swap = dict(order='forget-learn-forget')
