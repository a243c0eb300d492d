"""A section of the report."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from knowswap_mm.runs.reader import RunFolder
from knowswap_mm.visualization.report.blocks import Block


class Section(metaclass=ABCMeta):
    """Answers one question about a run; a new one is a file with a registered subclass.

    Attributes:
        name (str): Anchor on the page and key in the json.
        title (str): Heading.
        order (int): Sections come by this number.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    order: ClassVar[int]

    @abstractmethod
    def blocks(self, record: RunFolder) -> Sequence[Block]:
        """What the section shows; nothing if the run has nothing for it.

        Args:
            record (RunFolder): The run.
        """
