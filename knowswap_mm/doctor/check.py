"""A check of the installation."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from knowswap_mm.doctor.finding import Finding


class Check(metaclass=ABCMeta):
    """Looks at one thing; a new check is a file with a registered subclass.

    It imports what it looks at in :meth:`findings`, because that may be broken.

    Args:
        work_dir (Path): Where runs will be written.

    Attributes:
        name (str): For ``--skip`` and the json.
        order (int): Checks come by this number.
        needs (tuple[str, ...]): Checks without whose success this one would only repeat them.
    """

    name: ClassVar[str]
    order: ClassVar[int]
    needs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, work_dir: Path) -> None:
        self.work_dir = work_dir

    @abstractmethod
    def findings(self) -> Iterator[Finding]:
        """What there is to say; at least one finding."""
