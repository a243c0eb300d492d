"""A config as text that people read."""

from __future__ import annotations

import keyword
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 100


class Name(str):
    """The name of a variable of the config, which is written as it is."""


def config_text(head: Sequence[str], sections: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """The text of a config.

    Args:
        head (Sequence[str]): Paragraphs of the comment at its top.
        sections (Sequence[tuple[str, Mapping]]): Comment of a part, and its variables.
    """
    lines = [line for text in head for line in _comment(text)]
    for text, values in sections:
        if values:
            lines += ['', *_comment(text)]
            lines += [f'{key} = {value_text(value, len(key) + 3)}' for key, value in values.items()]
    return '\n'.join(lines) + '\n'


def value_text(value: Any, used: int = 0, depth: int = 0) -> str:
    """A value as Python code; what does not fit into a line is broken, an entry a line.

    Args:
        value: Plain data.
        used (int): Characters of the line that are taken already.
        depth (int): How far it is indented, in steps of four.
    """
    flat = _flat(value)
    if len(flat) + used + 4 * depth <= WIDTH - 1 or not isinstance(value, (dict, list, tuple)):
        return flat
    if not value:
        return flat
    inner, end = '    ' * (depth + 1), '    ' * depth
    if not isinstance(value, Mapping) and all(
        isinstance(each, (str, int, float)) for each in value
    ):
        body = textwrap.fill(
            ', '.join(_no_breaks(_flat(each)) for each in value) + ',',
            WIDTH - 1,
            initial_indent=inner,
            subsequent_indent=inner,
            break_long_words=False,
            break_on_hyphens=False,
        ).replace(_SPACE, ' ')
        return f'{flat[0]}\n{body}\n{end}{flat[-1]}'
    if isinstance(value, Mapping):
        named = _is_named(value)
        pairs = [(f'{k}=' if named else f'{k!r}: ', v) for k, v in value.items()]
        marks = ('dict(', ')') if named else ('{', '}')
    else:
        pairs = [('', each) for each in value]
        marks = flat[0], flat[-1]
    rows = [f'{inner}{key}{value_text(each, len(key), depth + 1)},' for key, each in pairs]
    return '\n'.join([marks[0], *rows, f'{end}{marks[1]}'])


def _flat(value: Any) -> str:
    if isinstance(value, Name):
        return str(value)
    if isinstance(value, Mapping):
        if _is_named(value):
            return f'dict({", ".join(f"{k}={_flat(v)}" for k, v in value.items())})'
        return f'{{{", ".join(f"{k!r}: {_flat(v)}" for k, v in value.items())}}}'
    if isinstance(value, (list, tuple)):
        parts = ', '.join(map(_flat, value))
        if isinstance(value, list):
            return f'[{parts}]'
        return f'({parts},)' if len(value) == 1 else f'({parts})'
    if isinstance(value, type):
        return value.__name__ if value.__module__ == 'builtins' else _path(value)
    if isinstance(value, float) and not math.isfinite(value):
        return f"float('{value}')"
    return repr(value)


def _path(kind: type) -> str:
    return f'{kind.__module__}.{kind.__qualname__}'


def _is_named(value: Mapping[Any, Any]) -> bool:
    return all(isinstance(k, str) and k.isidentifier() and not keyword.iskeyword(k) for k in value)


#: Stands for a space within a string, at which no line is broken.
_SPACE = '\0'


def _no_breaks(text: str) -> str:
    return text.replace(' ', _SPACE)


def _comment(text: str) -> list[str]:
    return [f'# {line}' for line in textwrap.wrap(text, WIDTH - 2, break_long_words=False)]
