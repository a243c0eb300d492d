"""The answer of a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from knowswap_mm.visualization.report.blocks.block import Block, markdown_text

_CLASSES = {'yes': 'yes', 'in part': 'part', 'no': 'no'}


@dataclass(frozen=True)
class Banner(Block):
    """A verdict and what it is made of.

    Attributes:
        word (str): ``yes``, ``in part``, ``no``, or anything else for a verdict that is none.
        headline (str): The verdict.
        items (Sequence[tuple[str | None, str]]): Word and sentence of each part.
    """

    word: str
    headline: str
    items: Sequence[tuple[str | None, str]] = ()

    def html(self) -> Markup:
        """As html; colours only repeat what the words say."""
        items = Markup('').join(
            Markup('<li>{} <span class="word {}">{}</span></li>').format(
                text, _CLASSES.get(word, ''), word or ''
            )
            for word, text in self.items
        )
        return Markup('<div class="banner {}"><p>{}</p><ul>{}</ul></div>').format(
            _CLASSES.get(self.word, ''), self.headline, items
        )

    def markdown(self) -> str:
        """As Markdown."""
        lines = [f'**{markdown_text(self.headline)}**', '']
        lines += [f'- {markdown_text(text)} {word or ""}'.rstrip() for word, text in self.items]
        return '\n'.join(lines).rstrip()

    def data(self) -> Any:
        """Verdict and parts."""
        parts = [dict(verdict=word, text=text) for word, text in self.items]
        return dict(verdict=self.word, headline=self.headline, parts=parts)
