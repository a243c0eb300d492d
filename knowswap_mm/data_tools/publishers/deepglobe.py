"""DeepGlobe Land: what covers the ground, seen from above."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from knowswap_mm.data_tools.images import NONE, MappedPicture, SourceError
from knowswap_mm.datasets.seeding import derive_seed

_COLOURS = dict(
    urban_land=(0, 255, 255),
    agriculture_land=(255, 255, 0),
    rangeland=(255, 0, 255),
    forest_land=(0, 255, 0),
    water=(0, 0, 255),
    barren_land=(255, 255, 255),
)


class DeepGlobe:
    """Reads ``train/<n>_sat.jpg`` and ``train/<n>_mask.png``; a share, drawn, becomes ``val``.

    The publisher keeps the maps of its own ``valid`` and ``test``. Colours are read as it says: a
    channel counts as 255 from 128 on. Black (unknown) is no class.

    Args:
        root (str | Path): The folder with ``train``.
        val_share (float): Share of the images in ``val``.
        seed (int): Seed of that draw.

    Raises:
        SourceError: If there are no images, or one has no map.
    """

    classes = list(_COLOURS)

    def __init__(self, root: str | Path, val_share: float = 0.2, seed: int = 0) -> None:
        self.root, self.val_share, self.seed = Path(root), val_share, seed

    def pictures(self) -> list[MappedPicture]:
        """All images, by name."""
        paths = sorted((self.root / 'train').glob('*_sat.jpg'))
        if not paths:
            fix = 'give the folder that holds train/ (--source)'
            raise SourceError(self.root, [f'there is no train/*_sat.jpg. Fix: {fix}'])
        rng = np.random.default_rng(derive_seed('hold out', self.seed, 'deepglobe'))
        held = set(rng.permutation(len(paths))[: round(len(paths) * self.val_share)].tolist())
        found, problems = [], []
        for number, path in enumerate(paths):
            labels = path.with_name(path.name.replace('_sat.jpg', '_mask.png'))
            if not labels.is_file():
                problems.append(f'train/{labels.name} is missing')
            split = 'val' if number in held else 'train'
            found.append(MappedPicture(split, path, labels, read_land_map))
        if problems:
            raise SourceError(self.root, problems)
        return found


def read_land_map(path: Path) -> np.ndarray:
    """Classes by colour."""
    with Image.open(path) as opened:
        values = np.asarray(opened)
    if values.ndim != 3 or values.shape[2] != 3:
        raise ValueError(f'{path.name} is no map of DeepGlobe: it is not in three colours')
    bits = (values >= 128) @ np.array([4, 2, 1], np.uint8)
    table = np.full(8, NONE, np.int16)
    for label, colour in enumerate(_COLOURS.values()):
        table[sum(bit for bit, channel in zip((4, 2, 1), colour, strict=True) if channel)] = label
    if (bits == 4).any():
        raise ValueError(f'{path.name} is no map of DeepGlobe: red means no class there')
    return table[bits]
