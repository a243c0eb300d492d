"""Evaluates a checkpoint of a swap, or the pretrained host, by role.

python tools/test.py CONFIG CHECKPOINT --out metrics.json
"""

import argparse
import json
import os
import sys
from pathlib import Path

from mmengine.registry import RUNNERS

from knowswap_mm.engine.option_action import OptionAction
from knowswap_mm.engine.tool_config import check_place, open_config, override
from knowswap_mm.errors import SwapError


def parse_args(args: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description='Evaluate a swap by role.')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='.pth or .safetensors of the swap or of the host')
    parser.add_argument('--work-dir', help='folder for logs')
    parser.add_argument('--out', help='json file for the metrics')
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction, help='overrides')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    return parser.parse_args(args)


def main() -> None:
    """Evaluates."""
    args = parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    try:
        if args.out:
            check_place('--out', args.out)
        cfg = open_config(args.config)
        cfg.launcher, cfg.load_from = args.launcher, args.checkpoint
        cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{Path(args.config).stem}'
        override(cfg, args.cfg_options or {})
        metrics = RUNNERS.build(cfg).test()
    except SwapError as error:
        sys.exit(f'{type(error).__name__}: {error}')
    if args.out and int(os.environ.get('RANK', 0)) == 0:
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        Path(args.out).write_text(json.dumps(metrics, indent=2, default=float) + '\n')


if __name__ == '__main__':
    main()
