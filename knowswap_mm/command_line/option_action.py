"""``--cfg-options`` of a command line."""

from __future__ import annotations

import argparse
from typing import Any

from mmengine.config import DictAction


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
