"""Text as it stands in a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from knowswap_mm.visualization.report.blocks.block import Block


@dataclass(frozen=True)
class Code(Block):
    """A config or a command.

    Attributes:
        text (str): The text.
        label (str): What it is.
    """

    text: str
    label: str

    def html(self) -> Markup:
        """As html."""
        box = Markup('<pre tabindex="0" role="region" aria-label="{}"><code>{}</code></pre>')
        return box.format(self.label, self.text)

    def markdown(self) -> str:
        """As an indented block, out of which no text can break."""
        return '\n'.join(f'    {line}' for line in self.text.splitlines())

    def data(self) -> Any:
        """Label and text."""
        return {self.label: self.text}
