"""Text."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from knowswap_mm.visualization.report.blocks.block import Block, markdown_text


@dataclass(frozen=True)
class Paragraph(Block):
    """A paragraph, or a heading within a section.

    Attributes:
        text (str): The text.
        kind (str): ``text``, ``note`` (less prominent) or ``heading``.
    """

    text: str
    kind: str = 'text'

    def html(self) -> Markup:
        """As html."""
        if self.kind == 'heading':
            return Markup('<h3>{}</h3>').format(self.text)
        if self.kind == 'note':
            return Markup('<p class="note">{}</p>').format(self.text)
        return Markup('<p>{}</p>').format(self.text)

    def markdown(self) -> str:
        """As Markdown."""
        return f'{"### " if self.kind == "heading" else ""}{markdown_text(self.text)}'
