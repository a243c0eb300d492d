"""A table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from knowswap_mm.visualization.report.blocks.block import Block, markdown_text

_INTERVAL = re.compile(r'[-\d.]+ \[[-\d., ]+\]')


@dataclass(frozen=True)
class Table(Block):
    """A table; the first cell of a row names the row.

    Attributes:
        caption (str): What it shows.
        header (Sequence[str]): Names of the columns.
        rows (Sequence[Sequence]): Texts, numbers, or None for what is not known.
        digits (int): Digits of numbers behind the point.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    digits: int = 1

    def html(self) -> Markup:
        """As html, in a box that scrolls if the page is too narrow."""
        numeric = [
            any(isinstance(row[i], (int, float)) for row in self.rows)
            for i in range(len(self.header))
        ]
        head = Markup('').join(
            Markup('<th scope="col"{}>{}</th>').format(_class(number), name)
            for name, number in zip(self.header, numeric, strict=True)
        )
        body = Markup('\n').join(self._row(row, numeric) for row in self.rows)
        return Markup(
            '<div class="scroll" tabindex="0" role="region" aria-label="{caption}">\n<table>'
            '<caption><span>{caption}</span></caption>\n<thead><tr>{head}</tr></thead>\n'
            '<tbody>\n{body}\n</tbody></table></div>'
        ).format(caption=self.caption, head=head, body=body)

    def _row(self, row: Sequence[Any], numeric: Sequence[bool]) -> Markup:
        first = Markup('<th scope="row"{}>{}</th>').format(_class(numeric[0]), self._cell(row[0]))
        cells = (
            Markup('<td{}>{}</td>').format(_class(number, text), text)
            for text, number in zip(map(self._cell, row[1:]), numeric[1:], strict=True)
        )
        return Markup('<tr>{}{}</tr>').format(first, Markup('').join(cells))

    def _cell(self, value: Any) -> str:
        if value is None:
            return '–'
        return f'{value:.{self.digits}f}' if isinstance(value, float) else str(value)

    def markdown(self) -> str:
        """As a table of Markdown under its caption."""
        rows = [[markdown_text(self._cell(value)) for value in row] for row in self.rows]
        lines = [[markdown_text(name) for name in self.header], ['---'] * len(self.header), *rows]
        table = '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)
        return f'{markdown_text(self.caption)}\n\n{table}'

    def data(self) -> Any:
        """Caption, header and rows."""
        return dict(
            caption=self.caption, header=list(self.header), rows=[list(r) for r in self.rows]
        )


def _class(numeric: bool, text: str = '') -> Markup:
    if numeric:
        return Markup(' class="number"')
    # A number with its interval stays in one line.
    return Markup(' class="interval"') if _INTERVAL.fullmatch(text) else Markup('')
