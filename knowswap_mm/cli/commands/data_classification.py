"""``knowswap data-classification``."""

from __future__ import annotations

import argparse

from knowswap_mm.cli.main import Command
from knowswap_mm.cli.options import add_data_arguments

#: The keys of ``SOURCES`` of the conversion, which takes long to import.
DATASETS = ('class-folders', 'cub', 'imagenet', 'oxford-pet')
TEXT = """
`imagenet` reads train/<wnid>/ and val/, `class-folders` <source>/<split>/<class>/ (the official
<k>_<wnid> folders) and <source>/<class>/ (RESISC45, PlantVillage; a share of each class becomes
val). Lists are names or a file with one a line. Images are checked, then linked. `<out>` has
class folders by split, `splits/`, `classes.txt`, `roles/`, checksums, a manifest and a contact
sheet. `--layout official` calls val `test`; with --forget it writes `<out>/forget` and
`<out>/retain`, with folders named <number>_<class>.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_data_arguments(parser, DATASETS)
    parser.add_argument(
        '--val-share', type=float, default=0.2, help='where the publisher has no splits'
    )


def run(args: argparse.Namespace) -> None:
    """Convert and say what was written."""
    from knowswap_mm.data_tools.conversion import convert_classification as convert
    from knowswap_mm.data_tools.conversion import run_conversion

    run_conversion(args, convert)


COMMAND = Command(
    help='Turn a downloaded data set into class folders that configs read.',
    examples=(
        'knowswap data-classification cub --source CUB_200_2011 --out data/cub --learn learn.txt',
        'knowswap data-classification oxford-pet --source oxford-iiit-pet --out data/pet',
        'knowswap data-classification imagenet --source in1k --out in100 --classes my100.txt',
    ),
    add_arguments=add_arguments,
    run=run,
    order=120,
    text=TEXT,
)
main = COMMAND.main
