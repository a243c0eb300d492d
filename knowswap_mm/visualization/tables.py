"""Tables in Markdown, for pages, files and terminals; once for the whole package (issue 25)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any


def markdown_text(text: Any) -> str:
    """Foreign text in one line of Markdown, where html and the marks of Markdown mean nothing."""
    text = str(text).replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')
    return re.sub(r'([\\`*_\[\]|#!])', r'\\\1', ' '.join(text.split()))


def table_cell(value: Any) -> str:
    """Text that stays in its cell, a dash for None.

    Its other marks keep their meaning, for terminals and ``**``.
    """
    if value is None:
        return '-'
    return ' '.join(str(value).split()).replace('\\', '\\\\').replace('|', '\\|')


def markdown_table(
    header: Sequence[str],
    rows: Iterable[Sequence[Any]],
    aligned: bool = False,
    escape: Callable[[Any], str] = table_cell,
) -> str:
    """A table whose contents cannot break out of their cells.

    ``aligned`` pads the columns to one width, to be read in a terminal; ``escape`` makes the text
    of a cell, see :func:`table_cell`.
    """
    head, *body = [[escape(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    rule = ['-' * width if aligned else '---' for width in widths]
    pads = widths if aligned else [0] * len(widths)
    lines = []
    for line in (head, rule, *body):
        cells = [cell.ljust(pad) for cell, pad in zip(line, pads, strict=True)]
        lines.append('|' + '|'.join(f' {cell} ' if cell else ' ' for cell in cells) + '|')
    return '\n'.join(lines)
