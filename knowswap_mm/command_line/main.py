"""``knowswap``: one entry to all commands."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from functools import partial

from knowswap_mm import commands
from knowswap_mm.command_line.command import Command
from knowswap_mm.version import __version__

PROGRAM = 'knowswap'


def find_commands() -> dict[str, Command]:
    """All commands by name, in the order of ``--help``: a file in ``commands/`` is a command."""
    found = {}
    for module in pkgutil.iter_modules(commands.__path__, f'{commands.__name__}.'):
        name = module.name.rpartition('.')[2].replace('_', '-')
        found[name] = importlib.import_module(module.name).COMMAND
    return dict(sorted(found.items(), key=lambda item: (item[1].order, item[0])))


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description='Knowledge swapping: learn new classes, forget some, keep the rest.',
        epilog=f'`{PROGRAM} COMMAND --help` shows the options of a command and examples.\n'
        f'`{PROGRAM} doctor` checks the installation.',
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, max_help_position=26),
    )
    parser.add_argument('--version', action='version', version=f'knowswap_mm {__version__}')
    places = parser.add_subparsers(title='commands', metavar='COMMAND')
    for name, command in find_commands().items():
        place = places.add_parser(name, help=command.help, **command.parser_settings())
        command.add_arguments(place)
        place.set_defaults(start=command.start)
    return parser


def main(args: Sequence[str] | None = None) -> None:
    """Run the command that a command line names; without one, show the help.

    Raises:
        SystemExit: With 2 if there is no command; otherwise as :meth:`Command.start`.
    """
    parser = build_parser()
    if '_ARGCOMPLETE' in os.environ:  # the shell asks how a word could end
        import argcomplete

        argcomplete.autocomplete(parser)
    words = sys.argv[1:] if args is None else list(args)
    parsed = parser.parse_args(words, argparse.Namespace(words=words[1:]))
    if not hasattr(parsed, 'start'):
        parser.print_help()
        parser.exit(2)
    parsed.start(parsed)
