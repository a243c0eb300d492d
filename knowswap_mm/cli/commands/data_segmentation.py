"""``knowswap data-segmentation``."""

from __future__ import annotations

import argparse

from knowswap_mm.cli.main import Command
from knowswap_mm.cli.options import add_data_arguments

#: The keys of ``SOURCES`` of the conversion, which takes long to import.
DATASETS = ('ade20k', 'ade20k-full', 'coco', 'coco-stuff', 'deepglobe', 'oxford-pet', 'voc')
TEXT = """
Ids in the maps follow the order of `--learn` or `--classes` (names, or a file with one a line),
else that of the publisher, from `--first-id` on. `<out>` has `<split>/{images,annotations}`,
`roles/`, checksums, a manifest and a contact sheet. `--layout official` numbers classes to learn
from 150 on and calls val `test`; with --forget it writes `<out>/forget` and `<out>/retain` with
`{images,annotations_detectron2}/{training,validation}`, where the classes of the other role are
unlabelled. `ade20k-full` and `coco-stuff` have more classes than ids: choose some.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_data_arguments(parser, DATASETS)
    parser.add_argument('--first-id', type=int, help='id of the first class; 0 by default')


def run(args: argparse.Namespace) -> None:
    """Convert and say what was written."""
    from knowswap_mm.data_tools.conversion import convert_segmentation as convert
    from knowswap_mm.data_tools.conversion import run_conversion

    run_conversion(args, convert)


COMMAND = Command(
    help='Turn a downloaded data set with semantic maps into a tree that configs read.',
    examples=(
        'knowswap data-segmentation voc --source VOCdevkit/VOC2012 --out data/voc --learn bird cat',
        'knowswap data-segmentation ade20k --source ADEChallengeData2016 --out ade --forget sky',
    ),
    add_arguments=add_arguments,
    run=run,
    order=122,
    text=TEXT,
)
main = COMMAND.main
