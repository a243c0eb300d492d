"""A piece of a section."""

from __future__ import annotations

import re
from abc import ABCMeta, abstractmethod
from typing import Any

from markupsafe import Markup


class Block(metaclass=ABCMeta):
    """Knows how it looks as html, as Markdown and as data."""

    @abstractmethod
    def html(self) -> Markup:
        """As html, with all foreign text escaped."""

    @abstractmethod
    def markdown(self) -> str:
        """As Markdown, with all foreign text escaped."""

    def data(self) -> Any:
        """Plain data for json; None if there is none."""
        return None


def markdown_text(text: str) -> str:
    """Foreign text in one line of Markdown, where html and the marks of Markdown mean nothing.

    Args:
        text (str): Any text.
    """
    text = str(text).replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')
    return re.sub(r'([\\`*_\[\]|#!])', r'\\\1', ' '.join(text.split()))
