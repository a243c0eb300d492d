"""A folder a class: ImageNet, RESISC45, PlantVillage."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np

from knowswap_mm.data_tools.images import Picture, SourceError
from knowswap_mm.datasets.images import OTHER_IMAGES, is_image_name, is_junk
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
        SourceError: If the folder is missing, or holds no images in class folders.
    """

    def __init__(self, root: str | Path, val_share: float = 0.2, seed: int = 0) -> None:
        if not 0 <= val_share < 1:
            raise ConfigError('--val-share', val_share, 'not in [0, 1)', 'e.g. 0.2')
        self.root, self.val_share, self.seed = Path(root), val_share, seed

    def pictures(self) -> list[Picture]:
        """All images, by split, class and name."""
        if not self.root.is_dir():
            raise SourceError(self.root, ['no such folder. Fix: give the unpacked one (--source)'])
        splits = [name for name in ('train', 'val', 'test') if (self.root / name).is_dir()]
        found = [p for split in splits for p in self._read(self.root / split, split)]
        if not splits:
            found = self._hold_out(self._read(self.root, 'train'))
        if not found:
            fix = 'the folders below must hold a folder a class'
            raise SourceError(self.root, [f'no image in class folders. Fix: {fix}'])
        return found

    @staticmethod
    def _read(folder: Path, split: str) -> list[Picture]:
        classes = sorted(p for p in folder.iterdir() if p.is_dir() and not is_junk(p.name))
        found = []
        for each in classes:
            # The hosts read the folders below a class, too.
            below = (path.relative_to(each) for path in sorted(each.rglob('*')))
            inside = [path for path in below if not any(map(is_junk, path.parts))]
            images = [path for path in inside if is_image_name(path.name)]
            if other := Counter(path.suffix.lower() for path in set(inside) - set(images)):
                counts = ', '.join(f'{n} {suffix}' for suffix, n in sorted(other.items()) if suffix)
                if set(other) & set(OTHER_IMAGES):
                    print(f'{each}: left out, because no host reads it: {counts}', file=sys.stderr)
            found += [Picture(split, each.name, each / path) for path in images]
        return found

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
