# What `make demo-segmentation` runs: a small Mask2Former that knows twelve shapes and four backgrounds learns four more
# shapes and forgets three, with the recipe and in less time than it would take. Some minutes on two CPU cores.
_base_ = ['../real/mask2former-mini_scenes_learn-forget.py']
swap = dict(phase_settings=dict(learn=dict(iters=150), forget=dict(iters=120)))
default_hooks = dict(logger=dict(interval=10))
