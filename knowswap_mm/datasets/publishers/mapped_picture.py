"""One picture of a publisher with its semantic map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

#: Where no class is. As a position in a table it is the last entry.
NONE = -1


@dataclass(frozen=True)
class MappedPicture:
    """A picture and how to read its map.

    Attributes:
        split (str): ``train`` or ``val``.
        path (Path): The picture.
        map_path (Path): The publisher's map, whose name the map written gets, with ``.png``.
        read (Callable[[Path], np.ndarray]): Gives the class of every pixel, int16 ``(H, W)``, by
            its position among the publisher's classes; -1 where no class is. Raises ValueError for
            a map that is not the publisher's.
        class_names (tuple[str, ...]): Classes in it, once the map was read.
    """

    split: str
    path: Path
    map_path: Path
    read: Callable[[Path], np.ndarray]
    class_names: tuple[str, ...] = ()


def positions(values: np.ndarray, where: np.ndarray, shift: int = 0) -> np.ndarray:
    """Classes as :class:`MappedPicture` wants them: ``values + shift`` where there is one."""
    return np.where(where, values.astype(np.int16) + shift, np.int16(NONE))
