"""Options that several commands have."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from knowswap_mm.command_line.option_action import OptionAction


def add_config_options(parser: argparse.ArgumentParser, text: str = 'overrides') -> None:
    """Add ``--cfg-options``."""
    parser.add_argument(
        '--cfg-options', nargs='+', action=OptionAction, metavar='KEY=VALUE', help=text
    )


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Add what tells a process that it is one of several."""
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started the processes, if there are several',
    )
    parser.add_argument(
        '--local_rank', '--local-rank', type=int, default=0, help='number of this process'
    )


def add_data_arguments(parser: argparse.ArgumentParser, datasets: Sequence[str]) -> None:
    """Add what all conversions of data sets have.

    Args:
        parser (argparse.ArgumentParser): The parser.
        datasets (Sequence[str]): Data sets to choose from.
    """
    add = parser.add_argument
    add('dataset', choices=sorted(datasets), help='whose layout the source has')
    add('--source', type=Path, required=True, help='the unpacked download')
    add('--out', type=Path, required=True, help='folder to write')
    add('--classes', nargs='+', help='classes to take; all by default')
    add('--learn', nargs='+', help='classes to take, and to list as learn')
    add('--forget', nargs='+', help='classes to list as forget; the others: retain')
    add('--per-class', type=int, help='training pictures of a class at most')
    add('--fraction', type=float, default=1.0, help='share of the training pictures')
    add('--seed', type=int, default=0, help='of what is drawn by chance')
    add('--copy', action='store_true', help='copy pictures instead of linking them')
    add(
        '--layout',
        choices=['one-tree', 'official'],
        default='one-tree',
        help='one folder with lists of classes, or folders named as the official code does',
    )
