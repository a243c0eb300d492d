"""One picture of a publisher with its boxes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class BoxedObject:
    """An object.

    Attributes:
        class_name (str): Its class.
        box (Box): x, y, width, height in pixels of the stored picture.
        rest (Mapping[str, Any]): What else COCO json says of it: ``iscrowd``, ``segmentation``, ...
    """

    class_name: str
    box: Box
    rest: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BoxedPicture:
    """A picture and its objects.

    Attributes:
        split (str): ``train`` or ``val``.
        path (Path): The file.
        objects (tuple[BoxedObject, ...]): One or more.
        announced (tuple[int, int] | None): Width and height that the annotations name, if they do.
    """

    split: str
    path: Path
    objects: tuple[BoxedObject, ...]
    announced: tuple[int, int] | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes in it."""
        return tuple(dict.fromkeys(each.class_name for each in self.objects))
