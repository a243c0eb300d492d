"""``knowswap init``: the options of a swap without a config, and the config alone."""

from __future__ import annotations

import argparse
from pathlib import Path

from knowswap_mm.cli.main import Command
from knowswap_mm.cli.options import add_config_options

TEXT = """
The model is an ordinary config of mmpretrain, mmdet or mmseg with its checkpoint (also that of an
export); classifiers without one: `timm:NAME`, `hf:FOLDER`, `dinov2-small`. The config names the
data of the old classes, unless --data does. Data is recognised: a folder of class folders or a csv
file for a classifier; a COCO json or a folder of VOC xml for a detector; images, annotations and
classes.txt for a segmentor. Without a split for testing one image in five tests.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of swap and init."""
    parts = '--model CONFIG --checkpoint FILE [--learn DATA] [--forget CLASS ...] [OPTIONS]'
    parser.usage = f'%(prog)s {parts}'  # all of them would hide what is wrong
    add = parser.add_argument
    add('--model', required=True, help='config of the pretrained model')
    add('--checkpoint', help='its weights')
    add('--learn', type=Path, metavar='DATA', help='data with classes to learn')
    add('--forget', nargs='+', metavar='CLASS', help='classes to forget: names or a file of names')
    add('--deep', action='store_true', help='take them out of the features, too (deep forgetting)')
    add('--new', nargs='+', metavar='CLASS', help='classes to learn; all unknown ones by default')
    add('--data', type=Path, help='data of the old classes, in place of what the config names')
    add('--retain', type=Path, metavar='DATA', help='data of the classes to retain, in place of it')
    add('--test', type=Path, metavar='DATA', help='data to test with')
    add('--images', type=Path, metavar='DIR', help='folder of the images of a COCO json')
    add('--classes', nargs='+', metavar='CLASS', help='old classes in the order of the head')
    add('--out', type=Path, metavar='DIR', help='folder of the run; in work_dirs by default')
    add('--iters', type=int, metavar='N', help='iterations of each phase; chosen by default')
    add('--batch-size', type=int, metavar='N', help='images of an iteration')
    add('--device', choices=['cpu', 'cuda'], help='where to work; a GPU if there is one')
    add_config_options(parser, 'changes of the config, e.g. model.lora.rank=4')


def check_arguments(args: argparse.Namespace) -> None:
    """Check the numbers, and leave GPUs alone if so asked, before torch is imported."""
    import os

    from knowswap_mm.checks import check_whole

    for name, example in (('iters', 100), ('batch_size', 32)):
        if (value := getattr(args, name)) is not None:
            check_whole(f'--{name.replace("_", "-")}', value, 1 if name == 'iters' else 2, example)
    if args.device == 'cpu':
        os.environ['CUDA_VISIBLE_DEVICES'] = ''


def run(args: argparse.Namespace) -> None:
    """Write the config and say what comes next."""
    check_arguments(args)
    from knowswap_mm.own.run import make

    path, plan = make(args, 'knowswap init')
    print('\n'.join([*plan, f'- Next: knowswap train {path}']))


COMMAND = Command(
    help='Write the config of a swap of your own model and data, to look at and to edit.',
    examples=(
        'knowswap init --model my_vit.py --checkpoint my_vit.pth --learn photos --forget cat,dog',
    ),
    add_arguments=add_arguments,
    run=run,
    order=6,
    text=TEXT,
)
main = COMMAND.main
