"""Options that several commands have."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def command_of(name: str, *arguments: str | Path) -> list[str]:
    """What starts a command of ``knowswap`` with this Python, wherever it is installed."""
    return [sys.executable, '-m', 'knowswap_mm', name, *map(str, arguments)]


class OptionAction(argparse.Action):
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
        from mmengine.config import DictAction  # only now: help needs no mmengine

        try:
            DictAction(self.option_strings, self.dest)(parser, namespace, values, option_string)
        except Exception as error:  # brackets that are not closed, and the like
            parser.error(f'argument {option_string}: {words} cannot be read ({error})')


def add_config_options(parser: argparse.ArgumentParser, text: str = 'overrides') -> None:
    """Add ``--cfg-options``."""
    settings = dict(nargs='+', action=OptionAction, metavar='KEY=VALUE', help=text)
    parser.add_argument('--cfg-options', **settings)


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
