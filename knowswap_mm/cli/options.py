"""Options that several commands have."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import DictAction

import knowswap_mm
from knowswap_mm.errors import SwapError


def command_of(name: str, *arguments: str | Path) -> list[str]:
    """What starts a command of ``knowswap`` with this Python, wherever it is installed."""
    return [sys.executable, '-m', 'knowswap_mm', name, *map(str, arguments)]


#: Without these a folder is no checkout.
_FOLDERS = ('configs/demo', 'tools/dataset_converters', 'weights')


def is_checkout(folder: Path) -> bool:
    """Tell whether a folder holds the repository."""
    return all((folder / name).is_dir() for name in _FOLDERS)


def find_checkout(purpose: str) -> Path:
    """Find the repository: the one that the package lies in, else the current folder.

    Args:
        purpose (str): What needs it, e.g. ``The demo``.

    Returns:
        Path: Its folder.

    Raises:
        SwapError: If neither is one.
    """
    for folder in (Path(knowswap_mm.__file__).resolve().parents[1], Path.cwd()):
        if is_checkout(folder):
            return folder
    raise SwapError(
        f'{purpose} needs the configs, the pretrained weights (weights/) and the data tools of the '
        'repository, which are not installed with the package, and the current folder '
        f'({Path.cwd()}) has none. Fix: clone the repository and run the command in its folder.'
    )


class OptionAction(DictAction):
    """mmengine's ``KEY=VALUE`` pairs; a word without ``=`` ends the command with its usage."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Read the pairs."""
        words = [values] if isinstance(values, str) else list(values)
        if wrong := [word for word in words if not word.partition('=')[1] or word[0] == '=']:
            parser.error(f'argument {option_string}: {wrong[0]!r} is not KEY=VALUE')
        try:
            super().__call__(parser, namespace, values, option_string)
        except Exception as error:  # brackets that are not closed, and the like
            parser.error(f'argument {option_string}: {words} cannot be read ({error})')


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
    add('--per-class', type=int, help='training images of a class at most')
    add('--fraction', type=float, default=1.0, help='share of the training images')
    add('--seed', type=int, default=0, help='of what is drawn by chance')
    add('--copy', action='store_true', help='copy images instead of linking them')
    add(
        '--layout',
        choices=['one-tree', 'official'],
        default='one-tree',
        help='one folder with lists of classes, or folders named as the official code does',
    )
