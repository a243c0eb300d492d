"""Draws scenes of shapes with COCO annotations; needs no source files.

Two data sets: ``<out>/old`` with the twelve classes that the shipped detector knows, and
``<out>/new`` with the four that a swap learns, with annotations of its own.
"""

import argparse
import os
import sys
import time
from pathlib import Path

from knowswap_mm.data_tools.generators.scenes import write_shape_scenes
from knowswap_mm.data_tools.generators.shapes import SHAPE_CLASSES
from knowswap_mm.errors import SwapError

OLD = 12


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='scenes of shapes in COCO format')
    parser.add_argument('--out', default='data/shape_scenes', help='folder to write')
    parser.add_argument('--old', type=int, default=6000, help='training scenes of old classes')
    parser.add_argument('--new', type=int, default=2000, help='training scenes of new classes')
    parser.add_argument('--val', type=int, default=500, help='old scenes in val; test has twice')
    parser.add_argument('--size', type=int, default=128, help='height and width in pixels')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--workers', type=int, default=min(os.cpu_count() or 1, 8))
    return parser.parse_args()


def write(args: argparse.Namespace) -> None:
    """Writes the data set and says so."""
    if args.seed < 0:
        raise ValueError(f'--seed must be 0 or more, not {args.seed}.')
    for name in ('old', 'new', 'val'):
        if getattr(args, name) < 1:
            raise ValueError(f'--{name} must be 1 or more, not {getattr(args, name)}.')
    start = time.perf_counter()
    half = max(args.val // 2, 1)
    parts = {
        'old': (SHAPE_CLASSES[:OLD], dict(train=args.old, val=args.val, test=2 * args.val)),
        'new': (SHAPE_CLASSES[OLD:], dict(train=args.new, val=half, test=2 * half)),
    }
    for number, (name, (classes, splits)) in enumerate(parts.items()):
        root = Path(args.out) / name
        seed = 2 * args.seed + number  # no two data sets share scenes
        written = write_shape_scenes(root, classes, splits, args.size, seed, args.workers)
        word = 'written' if written else 'was there already, nothing to do'
        print(f'{root}: {word} ({time.perf_counter() - start:.1f} s)')


def main() -> None:
    args = parse_args()
    try:
        write(args)
    except (SwapError, OSError, ValueError) as error:
        sys.exit(f'{type(error).__name__}: {error}')


if __name__ == '__main__':
    main()
