# What `make demo-detection` runs: a small DINO that knows twelve shapes learns four more and forgets three, with the
# recipe and in less time than it would take. A few minutes on two CPU cores.
_base_ = ['../real/dino-mini_scenes_learn-forget.py']
swap = dict(phase_settings=dict(learn=dict(iters=150), forget=dict(iters=120)))
default_hooks = dict(logger=dict(interval=10))
