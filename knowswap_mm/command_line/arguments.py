"""Options that several commands have."""

from __future__ import annotations

import argparse

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
