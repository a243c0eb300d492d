"""``knowswap train``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from knowswap_mm.cli.main import Command
from knowswap_mm.cli.options import add_config_options, add_launcher
from knowswap_mm.installation import check_originals

if TYPE_CHECKING:
    from mmengine.config import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add('config', help='config file')
    add('--work-dir', help='folder for logs and checkpoints')
    add(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from this checkpoint, or from the latest one of the work dir',
    )
    add('--load-from', help='weights of the pretrained host, instead of load_from')
    add('--amp', action='store_true', help='bfloat16 autocast (needs CUDA)')
    add('--no-validate', action='store_true', help='do not evaluate')
    add('--auto-scale-lr', action='store_true', help='scale the learning rate with the batch size')
    add_config_options(parser, 'overrides, e.g. swap.phase_settings.learn.epochs=2')
    add_launcher(parser)


def merge_args(cfg: Config, args: argparse.Namespace) -> Config:
    """Put the command line into the config; --cfg-options have the last word."""
    from mmengine.device import get_device

    from knowswap_mm.engine.config import override

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
        cfg.setdefault('optim_wrapper', {})  # which a recipe completes
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


def run(args: argparse.Namespace) -> None:
    """Train."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    check_originals()
    from mmengine.registry import RUNNERS

    from knowswap_mm.engine.config import open_config

    cfg = merge_args(open_config(args.config), args)
    cfg.setdefault('runner_type', 'knowswap_mm.SwapRunner')
    RUNNERS.build(cfg).train()


COMMAND = Command(
    help='Train a swap: learn, forget and retain classes.',
    examples=(
        'knowswap train my_swap.py',
        'knowswap train my_swap.py --resume',
        'knowswap train my_swap.py --cfg-options swap.phase_settings.forget.bound=20',
    ),
    add_arguments=add_arguments,
    run=run,
    order=10,
)
main = COMMAND.main
