"""Sizes and EXIF orientations of images, from the first bytes of their files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from knowswap_mm.datasets.cache_folder import files_digest, write_cached
from knowswap_mm.datasets.picture_limit import picture_limit
from knowswap_mm.datasets.pipeline_steps import ORIENTATION

_READERS = 8
#: Formats that may have an orientation; MPO is the JPEG of some phones.
FORMATS = ('', 'JPEG', 'MPO', 'PNG', 'WEBP', 'TIFF')
_SIDEWAYS = range(5, 9)


class Header(NamedTuple):
    """What a file says of its image.

    Attributes:
        width (int): Pixels as stored; 0 if it is not known.
        height (int): Likewise.
        orientation (int): EXIF's number, 1 (upright) to 8.
        form (str): Format, if one of :data:`FORMATS`.
    """

    width: int
    height: int
    orientation: int
    form: str

    @property
    def stored(self) -> tuple[int, int]:
        """Width and height as stored."""
        return self.width, self.height

    @property
    def shown(self) -> tuple[int, int]:
        """Width and height once turned as the orientation says."""
        return self.stored[::-1] if self.orientation in _SIDEWAYS else self.stored


def image_headers(paths: Sequence[str], cache_dir: Path) -> list[Header]:
    """Read the headers once, and remember them until a file changes.

    Args:
        paths (Sequence[str]): The images.
        cache_dir (Path): Folder for what is remembered, see :func:`cache_folder`.

    Returns:
        list[Header]: One an image; of width 0 for addresses and what Pillow does not know.
    """
    picture_limit()
    digest = files_digest(paths)
    path = None if digest is None else cache_dir / f'headers_{digest}.npy'
    rows = _cached(path, len(paths))
    if rows is None:
        with ThreadPoolExecutor(_READERS) as pool:  # waits for the disk
            found = list(pool.map(_read, paths))
        rows = np.array(found, np.int64).reshape(len(paths), 4)
        if path is not None:
            write_cached(path, lambda file: np.save(file, rows))
    return [Header(w, h, o, FORMATS[f]) for w, h, o, f in rows.tolist()]


def _cached(path: Path | None, count: int) -> np.ndarray | None:
    if path is None or not path.is_file():
        return None
    try:
        rows = np.load(path, allow_pickle=False)
        fits = rows.shape == (count, 4) and rows.dtype == np.int64 and (rows >= 0).all()
    except Exception:  # a file of another origin may raise anything; the images are read anew
        return None
    return rows if fits and (rows[:, 3] < len(FORMATS)).all() else None


def _read(path: str) -> tuple[int, int, int, int]:
    if '://' in path or not os.path.isfile(path):  # whoever opens a pipe waits
        return 0, 0, 1, 0
    try:
        with Image.open(path) as image:
            width, height = image.size
            form = image.format if image.format in FORMATS else ''
            orientation = 1
            # Pillow decodes a whole PNG in search of an entry that does not stand at its beginning.
            if form and (form != 'PNG' or 'exif' in image.info):
                orientation = image.getexif().get(ORIENTATION, 1)
            if not isinstance(orientation, int) or not 1 <= orientation <= 8:
                orientation = 1
            if form == 'TIFF' and orientation in _SIDEWAYS:  # Pillow gives its size as shown
                width, height = height, width
    except Exception:  # no image that Pillow knows, or a damaged one: the loader will tell
        return 0, 0, 1, 0
    return width, height, orientation, FORMATS.index(form)
