"""Trains a swap from a config file.

python tools/train.py configs/classification/vit-fashion_7cls_learn-forget.py
"""

import argparse
import os
import sys
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import RUNNERS

from knowswap_mm.engine.option_action import OptionAction
from knowswap_mm.engine.tool_config import open_config, override
from knowswap_mm.errors import SwapError


def parse_args(args: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description='Train a swap: learn, forget and retain classes.')
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='folder for logs and checkpoints')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from this checkpoint, or from the latest one of the work dir',
    )
    parser.add_argument('--load-from', help='weights of the pretrained host, instead of load_from')
    parser.add_argument('--amp', action='store_true', help='bfloat16 autocast (needs CUDA)')
    parser.add_argument('--no-validate', action='store_true', help='do not evaluate')
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate with the batch size'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionAction,
        help='overrides, e.g. swap.phases.0.epochs=2',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    return parser.parse_args(args)


def merge_args(cfg: Config, args: argparse.Namespace) -> Config:
    """Puts the command line into the config; --cfg-options have the last word."""
    cfg.launcher = args.launcher
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif not cfg.get('work_dir'):
        cfg.work_dir = str(Path('work_dirs') / Path(args.config).stem)
    if args.load_from:
        cfg.load_from = args.load_from
    if args.resume:
        cfg.resume = args.resume
    if args.amp:
        if get_device() == 'cpu':
            sys.exit('--amp needs an accelerator, and there is none. Fix: leave --amp out.')
        cfg.optim_wrapper.type = 'knowswap_mm.SwapOptimWrapper'
        cfg.optim_wrapper.dtype = 'bfloat16'
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.auto_scale_lr:
        if 'auto_scale_lr' not in cfg:
            sys.exit(
                '--auto-scale-lr needs the batch size that the learning rate was chosen for. '
                'Fix: add auto_scale_lr = dict(base_batch_size=160) to the config.'
            )
        cfg.auto_scale_lr.enable = True
    override(cfg, args.cfg_options or {})
    return cfg


def main() -> None:
    """Trains."""
    args = parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    import knowswap_mm  # noqa: F401  (a config without custom_imports works as well)

    try:
        cfg = merge_args(open_config(args.config), args)
        cfg.setdefault('runner_type', 'knowswap_mm.SwapRunner')
        RUNNERS.build(cfg).train()
    except SwapError as error:
        sys.exit(f'{type(error).__name__}: {error}')


if __name__ == '__main__':
    main()
