"""``knowswap test``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from knowswap_mm.cli.main import Command
from knowswap_mm.cli.options import add_config_options, add_launcher


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='.pth or .safetensors of the swap or of the host')
    parser.add_argument('--work-dir', help='folder for logs')
    parser.add_argument('--out', help='json file for the metrics')
    add_config_options(parser)
    add_launcher(parser)


def run(args: argparse.Namespace) -> None:
    """Evaluate."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    from mmengine.registry import RUNNERS

    from knowswap_mm.engine.config import check_place, open_config, override
    from knowswap_mm.errors import ConfigError
    from knowswap_mm.io.checkpoints import check_file
    from knowswap_mm.io.files import write_json

    if args.out:
        check_place('--out', args.out)
    if args.launcher == 'none':  # several processes compare what each of them sees
        check_file(args.checkpoint, 'checkpoint')
    cfg = open_config(args.config)
    lost = [key for key in ('dataloader', 'cfg', 'evaluator') if not cfg.get(f'test_{key}')]
    if lost and 'swap' not in cfg:
        problem = f'describes no swap, and no test either: it has no test_{lost[0]}'
        fix = 'give the config of the swap; for an export, what --test-data writes beside it'
        raise ConfigError('config', args.config, problem, fix)
    cfg.launcher, cfg.load_from = args.launcher, args.checkpoint
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{Path(args.config).stem}'
    override(cfg, args.cfg_options or {})
    metrics = RUNNERS.build(cfg).test()
    if args.out and int(os.environ.get('RANK', 0)) == 0:
        write_json(args.out, metrics, default=float)


COMMAND = Command(
    help='Evaluate a state of a swap, or the pretrained host, by role.',
    examples=('knowswap test my_swap.py work_dirs/my_swap/phase1_learn.pth --out metrics.json',),
    add_arguments=add_arguments,
    run=run,
    order=20,
)
main = COMMAND.main
