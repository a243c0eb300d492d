"""A plot."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from knowswap_mm.visualization.plots import inline_svg
from knowswap_mm.visualization.report.blocks.block import Block, markdown_text


@dataclass(frozen=True)
class Figure(Block):
    """A plot of matplotlib; its numbers are in the json.

    Attributes:
        name (str): Unlike that of all other plots of the page.
        plot (matplotlib.figure.Figure): The plot.
        alt (str): What it shows, in words.
        caption (str): Text beneath it.
        values (dict): The numbers.
    """

    name: str
    plot: Any
    alt: str
    caption: str = ''
    values: dict[str, Any] = field(default_factory=dict)

    def html(self) -> Markup:
        """As html with the plot inside."""
        caption = Markup('<figcaption>{}</figcaption>').format(self.caption) if self.caption else ''
        return Markup(
            '<figure><div class="scroll" tabindex="0" role="group" aria-label="{}">{}</div>'
            '{}</figure>'
        ).format(f'Plot: {self.name}', inline_svg(self.plot, self.name, self.alt), caption)

    def markdown(self) -> str:
        """What it shows, in words: Markdown has no plots of its own."""
        return f'{markdown_text(self.alt)} {markdown_text(self.caption)}'.strip()

    def data(self) -> Any:
        """The numbers."""
        return dict(figure=self.name, **self.values) if self.values else None
