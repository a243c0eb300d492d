"""One picture of a publisher with its boxes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class BoxedPicture:
    """A picture and its objects.

    Attributes:
        split (str): ``train`` or ``val``.
        path (Path): The file.
        objects (tuple[tuple[str, Box], ...]): Class and box, x, y, width, height in pixels.
    """

    split: str
    path: Path
    objects: tuple[tuple[str, Box], ...]
