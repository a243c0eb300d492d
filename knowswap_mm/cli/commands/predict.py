"""``knowswap predict``."""

from __future__ import annotations

import argparse
from pathlib import Path

from knowswap_mm.cli.main import Command
from knowswap_mm.errors import ConfigError

TEXT = """
The source is the folder of a run, the folder of an export, or the config of any model of
mmpretrain, mmdet or mmseg with --checkpoint. `<out>` gets `predictions.json`, a contact sheet, and
of detectors and segmentors each image with its boxes or masks.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add('source', help='folder of a run or an export, or a config')
    add('images', type=Path, nargs='+', help='images, or folders of images')
    add('--checkpoint', help='weights, e.g. of an earlier phase of the run')
    add('--classes', nargs='+', metavar='CLASS', help='names, where config and weights have none')
    add('--out', type=Path, metavar='DIR', help='a new folder; predictions_1 and so on by default')
    add('--top', type=int, default=5, metavar='K', help='answers of an image (5)')
    add('--score', type=float, default=0.3, help='confidence from which an object is told (0.3)')
    add('--device', choices=['cpu', 'cuda'], help='where to work; a GPU if there is one')


def run(args: argparse.Namespace) -> None:
    """Predict and print the answers."""
    import os

    from knowswap_mm.checks import check_whole

    check_whole('--top', args.top, 1, 5)
    if not 0 <= args.score <= 1:
        raise ConfigError('--score', args.score, 'not in [0, 1]', 'e.g. 0.3')
    if args.device == 'cpu':
        os.environ['CUDA_VISIBLE_DEVICES'] = ''
    from knowswap_mm.own.predict import predict

    print('\n'.join(predict(args)))


COMMAND = Command(
    help='Show what a model says of images: answers, boxes, masks.',
    examples=(
        'knowswap predict work_dirs/my_vit_swap photos',
        'knowswap predict exported a.jpg b.jpg --out seen',
        'knowswap predict my_vit.py photos --checkpoint my_vit.pth',
    ),
    add_arguments=add_arguments,
    run=run,
    order=7,
    text=TEXT,
)
main = COMMAND.main
