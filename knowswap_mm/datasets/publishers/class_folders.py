"""A folder a class: ImageNet, RESISC45, PlantVillage."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from knowswap_mm.datasets.publishers.picture import SUFFIXES, Picture, SourceError
from knowswap_mm.datasets.seeding import derive_seed
from knowswap_mm.errors import ConfigError


class ClassFolders:
    """Reads ``<root>/<split>/<class>/<picture>``, or ``<root>/<class>/<picture>`` without splits.

    Without splits a share of each class, drawn by the seed, becomes ``val``.

    Args:
        root (str | Path): The folder.
        val_share (float): Share of each class in ``val``, where the publisher has no splits.
        seed (int): Seed of that draw.

    Raises:
        ConfigError: If the share is none.
        SourceError: If the folder is missing, or holds no pictures in class folders.
    """

    def __init__(self, root: str | Path, val_share: float = 0.2, seed: int = 0) -> None:
        if not 0 <= val_share < 1:
            raise ConfigError('--val-share', val_share, 'not in [0, 1)', 'e.g. 0.2')
        self.root, self.val_share, self.seed = Path(root), val_share, seed

    def pictures(self) -> list[Picture]:
        """All pictures, by split, class and name."""
        if not self.root.is_dir():
            raise SourceError(self.root, ['no such folder. Fix: give the unpacked one (--source)'])
        splits = [name for name in ('train', 'val', 'test') if (self.root / name).is_dir()]
        found = [p for split in splits for p in self._read(self.root / split, split)]
        if not splits:
            found = self._hold_out(self._read(self.root, 'train'))
        if not found:
            fix = 'the folders below must hold a folder a class'
            raise SourceError(self.root, [f'no picture in class folders. Fix: {fix}'])
        return found

    @staticmethod
    def _read(folder: Path, split: str) -> list[Picture]:
        classes = sorted(path for path in folder.iterdir() if path.is_dir())
        return [
            Picture(split, each.name, path)
            for each in classes
            for path in sorted(each.iterdir())
            if path.suffix.lower() in SUFFIXES
        ]

    def _hold_out(self, pictures: list[Picture]) -> list[Picture]:
        by_class: dict[str, list[Picture]] = {}
        for picture in pictures:
            by_class.setdefault(picture.class_name, []).append(picture)
        result = []
        for name, members in by_class.items():
            rng = np.random.default_rng(derive_seed('hold out', self.seed, name))
            held = set(rng.permutation(len(members))[: round(len(members) * self.val_share)])
            for number, picture in enumerate(members):
                split = 'val' if number in held else 'train'
                result.append(Picture(split, picture.class_name, picture.path))
        return sorted(result, key=lambda picture: picture.split)
