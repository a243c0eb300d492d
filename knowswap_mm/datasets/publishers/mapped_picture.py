"""One picture of a publisher with its semantic map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

#: Where no class is.
NONE = 255


@dataclass(frozen=True)
class MappedPicture:
    """A picture and how to read its map.

    Attributes:
        split (str): ``train`` or ``val``.
        path (Path): The picture.
        map_path (Path): The publisher's map.
        read (Callable[[Path], np.ndarray]): Gives the class of every pixel, uint8 ``(H, W)``, by
            its position among the publisher's classes; 255 where no class is. Raises ValueError for
            a map that is not the publisher's.
    """

    split: str
    path: Path
    map_path: Path
    read: Callable[[Path], np.ndarray]
