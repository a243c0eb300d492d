"""Small copies of pictures on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from knowswap_mm.datasets.publishers.picture import Picture

_SIDE, _COLUMNS, _ROWS = 96, 8, 100


def write_contact_sheet(path: Path, pictures: Sequence[Picture]) -> None:
    """Write small copies of some pictures, a row a class, to look at.

    Args:
        path (Path): A ``.jpg`` file.
        pictures (Sequence[Picture]): The pictures; the first ones of each class are shown, of 100
            classes at most.
    """
    rows: dict[str, list[Path]] = {}
    for picture in pictures:
        row = rows.setdefault(picture.class_name, [])
        if len(row) < _COLUMNS:
            row.append(picture.path)
    shown = sorted(rows)[:_ROWS]
    sheet = Image.new('RGB', (_SIDE * _COLUMNS, _SIDE * max(len(shown), 1)), 'white')
    for y, name in enumerate(shown):
        for x, each in enumerate(rows[name]):
            sheet.paste(_small(each), (x * _SIDE, y * _SIDE))
    sheet.save(path, quality=80)


def _small(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith('I'):  # 16 bits, which Pillow cuts off instead of scaling
        upright = Image.fromarray((np.asarray(upright) // 257).clip(0, 255).astype(np.uint8))
    return upright.convert('RGB').resize((_SIDE, _SIDE))
