"""Oxford-IIIT Pet with its trimaps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from knowswap_mm.data_tools.images import (
    MappedImage,
    Publisher,
    SourceImage,
    positions,
    read_pixels,
    read_table,
)


class OxfordPet(Publisher):
    """Reads ``images/`` and ``annotations/{trainval,test}.txt``; ``test`` becomes ``val``.

    A class is the part of an image's name before its number (``american_bulldog``). See
    :class:`Publisher`.
    """

    def _images(self, refuse: Callable[[str], object]) -> Iterator[SourceImage]:
        labels: dict[str, str] = {}
        for split, name in (('train', 'trainval'), ('val', 'test')):
            rows = read_table(self.root / 'annotations' / f'{name}.txt', self.root, 2)
            for image, label, *_ in rows:
                breed, path = image.rsplit('_', 1)[0], self.root / 'images' / f'{image}.jpg'
                if labels.setdefault(breed, label) != label:
                    refuse(f'{name}.txt: {image} has class {label}, not {labels[breed]}')
                elif not path.is_file():
                    refuse(f'{name}.txt: images/{image}.jpg is missing')
                else:
                    yield SourceImage(split, breed, path)


_ANIMAL, _BACKGROUND, _BORDER = 1, 2, 3


class PetMaps(Publisher):
    """Reads ``annotations/trimaps`` beside what :class:`OxfordPet` reads; a class is a breed.

    Background and border are no class. See :class:`Publisher`.
    """

    def __init__(self, root: str | Path) -> None:
        super().__init__(root)
        self._labelled = OxfordPet(self.root).images()
        self.classes = sorted({image.class_name for image in self._labelled})

    def _images(self, refuse: Callable[[str], object]) -> Iterator[MappedImage]:
        for image in self._labelled:
            path = self.root / 'annotations' / 'trimaps' / f'{image.path.stem}.png'
            if not path.is_file():
                refuse(f'annotations/trimaps/{path.name} is missing')
            read = partial(read_trimap, label=self.classes.index(image.class_name))
            yield MappedImage(image.split, image.path, path, read)


def read_trimap(path: Path, label: int) -> np.ndarray:
    """``label`` where the animal is."""
    values = read_pixels(path)
    if values.ndim != 2 or not np.isin(values, (_ANIMAL, _BACKGROUND, _BORDER)).all():
        raise ValueError(f'{path.name} is no trimap: it has other values than 1, 2 and 3')
    return positions(np.full_like(values, label), values == _ANIMAL)
