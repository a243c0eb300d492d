"""``knowswap``: one entry to all commands."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from knowswap_mm.cli import commands
from knowswap_mm.console import end_progress, quiet_warnings, tell_launcher
from knowswap_mm.errors import SwapError
from knowswap_mm.version import __version__


@dataclass(frozen=True)
class Command:
    """A command: what it is for, its options, and its work.

    Args:
        help (str): Its purpose in one line.
        examples (tuple[str, ...]): Lines that a user may type.
        add_arguments (Callable): Adds the options to a parser.
        run (Callable): Does the work; returns an exit code, or None for 0.
        order (int): Its place in ``knowswap --help``; a sub-command needs none.
        text (str): More, for the help of the command.
    """

    help: str
    examples: tuple[str, ...]
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int | None]
    order: int = 0
    text: str = ''

    def parser_settings(self) -> dict[str, object]:
        """Arguments of an ``ArgumentParser`` for this command."""
        lines = ''.join(f'  {line}\n' for line in self.examples)
        return dict(
            description='\n\n'.join(part for part in (self.help, self.text.strip()) if part),
            epilog=f'example{"s" if len(self.examples) > 1 else ""}:\n{lines}',
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def parse_args(self, args: Sequence[str] | None = None) -> argparse.Namespace:
        """Read a command line of the options of this command alone; ``words`` is what was typed."""
        words = sys.argv[1:] if args is None else list(args)
        parser = argparse.ArgumentParser(**self.parser_settings())
        self.add_arguments(parser)
        return parser.parse_args(words, argparse.Namespace(words=words))

    def main(self, args: Sequence[str] | None = None) -> None:
        """Read the command line and do the work, as the files in ``tools/`` do."""
        self.start(self.parse_args(args))

    def start(self, args: argparse.Namespace) -> None:
        """Do the work.

        Raises:
            SystemExit: With a message if the user can fix something, or with an exit code.
        """
        quiet_warnings()
        try:
            code = self.run(args)
        except SwapError as error:
            text = f'{type(error).__name__}: {error}'
            sys.exit(1 if tell_launcher(text) else text)
        finally:
            end_progress()
        if code:
            sys.exit(code)


PROGRAM = 'knowswap'
#: Commands by the names that they had before, which keep working.
OLD_NAMES = {
    f'data-{task}': ('data', task) for task in ('classification', 'detection', 'segmentation')
}


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
    add_commands(parser, find_commands())
    return parser


def add_commands(
    parser: argparse.ArgumentParser, commands: Mapping[str, Command], required: bool = False
) -> None:
    """Let the next word of a command line name one of several commands."""
    places = parser.add_subparsers(title='commands', metavar='COMMAND', required=required)
    for name, command in commands.items():
        place = places.add_parser(name, help=command.help, **command.parser_settings())
        place.set_defaults(start=command.start)
        command.add_arguments(place)


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
    if words and words[0] in OLD_NAMES:
        new = OLD_NAMES[words[0]]
        print(f'note: `{PROGRAM} {words[0]}` is now `{PROGRAM} {" ".join(new)}`', file=sys.stderr)
        words[:1] = new
    parsed = parser.parse_args(words, argparse.Namespace(words=words[1:]))
    if not hasattr(parsed, 'start'):
        parser.print_help()
        parser.exit(2)
    parsed.start(parsed)
