"""What is shown on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from knowswap_mm.visualization.report.blocks.block import Block, markdown_text


@dataclass(frozen=True)
class Details(Block):
    """Blocks behind a line that opens them.

    Attributes:
        summary (str): The line.
        blocks (Sequence[Block]): What it opens.
    """

    summary: str
    blocks: Sequence[Block]

    def html(self) -> Markup:
        """As html that needs no script."""
        inner = Markup('\n').join(block.html() for block in self.blocks)
        return Markup('<details><summary>{}</summary>\n{}\n</details>').format(self.summary, inner)

    def markdown(self) -> str:
        """As a part of its own."""
        parts = [f'### {markdown_text(self.summary)}', *(each.markdown() for each in self.blocks)]
        return '\n\n'.join(parts)

    def data(self) -> Any:
        """The data of the blocks."""
        found = [block.data() for block in self.blocks]
        return [each for each in found if each is not None] or None
