"""One command of ``knowswap``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from knowswap_mm.errors import SwapError


@dataclass(frozen=True)
class Command:
    """A command: what it is for, its options, and its work.

    Args:
        help (str): Its purpose in one line.
        examples (tuple[str, ...]): Lines that a user may type.
        add_arguments (Callable): Adds the options to a parser.
        run (Callable): Does the work; returns an exit code, or None for 0.
        order (int): Its place in ``knowswap --help``.
        text (str): More, for the help of the command.
    """

    help: str
    examples: tuple[str, ...]
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int | None]
    order: int
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
        """Read a command line that holds the options of this command alone.

        Returns:
            argparse.Namespace: The options, and in ``words`` what was typed.
        """
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
            SystemExit: With a message if the user can mend something, or with an exit code.
        """
        try:
            code = self.run(args)
        except SwapError as error:
            sys.exit(f'{type(error).__name__}: {error}')
        if code:
            sys.exit(code)
