"""Oxford-IIIT Pet with its trimaps."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from knowswap_mm.data_tools.images import MappedPicture, Picture, SourceError, positions, read_table


class OxfordPet:
    """Reads ``images/`` and ``annotations/{trainval,test}.txt``; ``test`` becomes ``val``.

    A class is the part of an image's name before its number (``american_bulldog``).

    Args:
        root (str | Path): The folder with ``images`` and ``annotations``.

    Raises:
        SourceError: If a list is missing or names what is not there.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def pictures(self) -> list[Picture]:
        """All images, in the order of the lists."""
        found, problems = [], []
        labels: dict[str, str] = {}
        for split, name in (('train', 'trainval'), ('val', 'test')):
            for picture, label, *_ in read_table(
                self.root / 'annotations' / f'{name}.txt', self.root, 2
            ):
                breed, path = picture.rsplit('_', 1)[0], self.root / 'images' / f'{picture}.jpg'
                if labels.setdefault(breed, label) != label:
                    problems.append(f'{name}.txt: {picture} has class {label}, not {labels[breed]}')
                elif not path.is_file():
                    problems.append(f'{name}.txt: images/{picture}.jpg is missing')
                else:
                    found.append(Picture(split, breed, path))
        if problems:
            raise SourceError(self.root, problems)
        return found


_ANIMAL, _BACKGROUND, _BORDER = 1, 2, 3


class PetMaps:
    """Reads ``annotations/trimaps`` beside what :class:`OxfordPet` reads; a class is a breed.

    Background and border are no class.

    Args:
        root (str | Path): The folder with ``images`` and ``annotations``.

    Raises:
        SourceError: If a list is missing or names what is not there.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._pictures = OxfordPet(self.root).pictures()
        self.classes = sorted({picture.class_name for picture in self._pictures})

    def pictures(self) -> list[MappedPicture]:
        """All images, in the order of the lists."""
        found, problems = [], []
        for picture in self._pictures:
            path = self.root / 'annotations' / 'trimaps' / f'{picture.path.stem}.png'
            if not path.is_file():
                problems.append(f'annotations/trimaps/{path.name} is missing')
            read = partial(read_trimap, label=self.classes.index(picture.class_name))
            found.append(MappedPicture(picture.split, picture.path, path, read))
        if problems:
            raise SourceError(self.root, problems)
        return found


def read_trimap(path: Path, label: int) -> np.ndarray:
    """``label`` where the animal is."""
    with Image.open(path) as opened:
        values = np.asarray(opened)
    if values.ndim != 2 or not np.isin(values, (_ANIMAL, _BACKGROUND, _BORDER)).all():
        raise ValueError(f'{path.name} is no trimap: it has other values than 1, 2 and 3')
    return positions(np.full_like(values, label), values == _ANIMAL)
