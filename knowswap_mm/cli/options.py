"""Options that several commands have."""

from __future__ import annotations

import argparse
import ast
import re
import sys
from pathlib import Path
from typing import Any

#: Values with dictionaries in them, of which mmengine reads none.
_DICTS = re.compile(r'\s*(dict\(|\{|[\[(].*(dict\(|\{))', re.DOTALL)


def command_of(name: str, *arguments: str | Path) -> list[str]:
    """What starts a command of ``knowswap`` with this Python, wherever it is installed."""
    return [sys.executable, '-m', 'knowswap_mm', name, *map(str, arguments)]


def read_dicts(text: str) -> Any:
    """A value as configs write it, such as ``dict(type=A, n=[1, 2])``; a bare name is a text.

    Nothing is executed.

    Raises:
        ValueError: If it is none, or anything is in it that would have to be executed.
    """

    def read(node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name) if name.lower() in ('true', 'false'):
                return name.lower() == 'true'
            case ast.Name() | ast.Attribute():
                return ast.unparse(node)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return -value
            case ast.List(elts=items):
                return [read(item) for item in items]
            case ast.Tuple(elts=items):
                return tuple(read(item) for item in items)
            case ast.Dict(keys=keys, values=values) if None not in keys:
                return {read(k): read(v) for k, v in zip(keys, values, strict=True)}
            case ast.Call(func=ast.Name(id='dict'), args=[], keywords=pairs) if all(
                pair.arg for pair in pairs
            ):
                return {pair.arg: read(pair.value) for pair in pairs}
        raise ValueError(f'{ast.unparse(node)} is no value')

    try:
        return read(ast.parse(text.strip(), mode='eval').body)
    except SyntaxError as error:
        raise ValueError(error.msg) from None


class OptionAction(argparse.Action):
    """mmengine's ``KEY=VALUE`` pairs; a word without ``=`` ends the command with its usage.

    Values with dictionaries, which mmengine does not read, are read as configs have them.
    """

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

        found, plain = {}, DictAction(self.option_strings, self.dest)
        for word in words:
            key, _, value = word.partition('=')
            try:
                if _DICTS.match(value):
                    found[key] = read_dicts(value)
                    continue
                read = argparse.Namespace()
                plain(parser, read, [word], option_string)
                found |= getattr(read, self.dest)
            except Exception as error:  # brackets that are not closed, and the like
                parser.error(f'argument {option_string}: {word!r} cannot be read ({error})')
        setattr(namespace, self.dest, found)


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
