"""``knowswap data-detection``."""

from __future__ import annotations

import argparse

from knowswap_mm.cli.main import Command
from knowswap_mm.cli.options import add_data_arguments

#: The keys of ``SOURCES`` of the conversion, which takes long to import.
DATASETS = ('coco', 'cub', 'stanford-dogs', 'voc')
TEXT = """
Lists are names or a file with one a line. COCO's categories keep their ids, others are numbered
from 1 in the order of `--learn` or `--classes`. `<out>` has images by split,
`annotations/instances_<split>.json`, `roles/`, checksums, a manifest and a contact sheet. `--layout
official` calls the splits `train2017` and `val2017`; with --forget it writes `<out>/forget` (the
images with a class to forget, and its boxes alone) and `<out>/retain` (the images without).
`voc` reads Pascal VOC xml: `Annotations`, `JPEGImages` and `ImageSets/Main`, or xml beside images.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_data_arguments(parser, DATASETS)


def run(args: argparse.Namespace) -> None:
    """Convert and say what was written."""
    from knowswap_mm.data_tools.conversion import convert_detection as convert
    from knowswap_mm.data_tools.conversion import run_conversion

    run_conversion(args, convert)


COMMAND = Command(
    help='Turn a downloaded data set with boxes into COCO format.',
    examples=(
        'knowswap data-detection cub --source CUB_200_2011 --out data/cub --learn learn.txt',
        'knowswap data-detection coco --source coco --out coco_small --forget cat --fraction 0.1',
        'knowswap data-detection voc --source VOCdevkit/VOC2012 --out data/voc --forget cat dog',
    ),
    add_arguments=add_arguments,
    run=run,
    order=121,
    text=TEXT,
)
main = COMMAND.main
