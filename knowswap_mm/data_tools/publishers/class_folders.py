"""A folder a class: ImageNet, RESISC45, PlantVillage."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from knowswap_mm.data_tools.images import Publisher, SourceImage
from knowswap_mm.datasets.images import OTHER_IMAGES, is_image_name, is_junk
from knowswap_mm.errors import ConfigError


class ClassFolders(Publisher):
    """Reads ``<root>/<split>/<class>/<image>``, or ``<root>/<class>/<image>`` without splits.

    Without splits a share of each class, drawn by the seed, becomes ``val``. See
    :class:`Publisher` for the arguments.

    Raises:
        ConfigError: If the share is none.
    """

    def __init__(self, root: str | Path, val_share: float = 0.2, seed: int = 0) -> None:
        if not 0 <= val_share < 1:
            raise ConfigError('--val-share', val_share, 'not in [0, 1)', 'e.g. 0.2')
        super().__init__(root, val_share, seed)

    def _images(self, refuse: Callable[[str], object]) -> Iterator[SourceImage]:
        if not self.root.is_dir():
            refuse('no such folder. Fix: give the unpacked one (--source)')
            return
        splits = [name for name in ('train', 'val', 'test') if (self.root / name).is_dir()]
        found = [image for split in splits for image in self._read(self.root / split, split)]
        if not splits:
            found = self._hold_out(self._read(self.root, 'train'))
        if not found:
            refuse('no image in class folders. Fix: the folders below must hold a folder a class')
        yield from found

    @staticmethod
    def _read(folder: Path, split: str) -> list[SourceImage]:
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
            found += [SourceImage(split, each.name, each / path) for path in images]
        return found

    def _hold_out(self, images: list[SourceImage]) -> list[SourceImage]:
        by_class: dict[str, list[SourceImage]] = {}
        for image in images:
            by_class.setdefault(image.class_name, []).append(image)
        result = []
        for name, members in by_class.items():
            held = self._held_out(len(members), name)
            for number, image in enumerate(members):
                split = 'val' if number in held else 'train'
                result.append(SourceImage(split, name, image.path))
        return sorted(result, key=lambda image: image.split)
