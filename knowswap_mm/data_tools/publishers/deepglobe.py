"""DeepGlobe Land: what covers the ground, seen from above."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from knowswap_mm.data_tools.images import NONE, MappedImage, Publisher, read_pixels

_COLOURS = dict(
    urban_land=(0, 255, 255),
    agriculture_land=(255, 255, 0),
    rangeland=(255, 0, 255),
    forest_land=(0, 255, 0),
    water=(0, 0, 255),
    barren_land=(255, 255, 255),
)


class DeepGlobe(Publisher):
    """Reads ``train/<n>_sat.jpg`` and ``train/<n>_mask.png``; a share, drawn, becomes ``val``.

    The publisher keeps the maps of its own ``valid`` and ``test``. Colours are read as it says: a
    channel counts as 255 from 128 on. Black (unknown) is no class. See :class:`Publisher`.
    """

    classes = list(_COLOURS)

    def _images(self, refuse: Callable[[str], object]) -> Iterator[MappedImage]:
        paths = sorted((self.root / 'train').glob('*_sat.jpg'))
        if not paths:
            fix = 'give the folder that holds train/ (--source)'
            refuse(f'there is no train/*_sat.jpg. Fix: {fix}')
        held = self._held_out(len(paths), 'deepglobe')
        for number, path in enumerate(paths):
            labels = path.with_name(path.name.replace('_sat.jpg', '_mask.png'))
            if not labels.is_file():
                refuse(f'train/{labels.name} is missing')
            split = 'val' if number in held else 'train'
            yield MappedImage(split, path, labels, read_land_map)


def read_land_map(path: Path) -> np.ndarray:
    """Classes by colour."""
    values = read_pixels(path)
    if values.ndim != 3 or values.shape[2] != 3:
        raise ValueError(f'{path.name} is no map of DeepGlobe: it is not in three colours')
    bits = (values >= 128) @ np.array([4, 2, 1], np.uint8)
    table = np.full(8, NONE, np.int16)
    for label, colour in enumerate(_COLOURS.values()):
        table[sum(bit for bit, channel in zip((4, 2, 1), colour, strict=True) if channel)] = label
    if (bits == 4).any():
        raise ValueError(f'{path.name} is no map of DeepGlobe: red means no class there')
    return table[bits]
