"""ADE20K with all its classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from knowswap_mm.data_tools.images import (
    GIVE_FOLDER,
    NONE,
    MappedImage,
    Publisher,
    SourceError,
    positions,
    read_pixels,
)
from knowswap_mm.io.text_files import read_json

SPLITS = dict(training='train', validation='val')


class Ade20k(Publisher):
    """Reads ``ADEChallengeData2016``: ``{images,annotations}/{training,validation}``.

    Classes are named as in mmseg; 0 in a map is no class. See :class:`Publisher`.
    """

    def __init__(self, root: str | Path) -> None:
        from mmseg.utils import get_classes

        super().__init__(root)
        self.classes = list(dict.fromkeys(name.strip() for name in get_classes('ade20k')))

    def _images(self, refuse: Callable[[str], object]) -> Iterator[MappedImage]:
        for folder, split in SPLITS.items():
            paths = sorted((self.root / 'images' / folder).glob('*.jpg'))
            if not paths:
                refuse(f'images/{folder} has no images. Fix: {GIVE_FOLDER}')
            for path in paths:
                labels = self.root / 'annotations' / folder / f'{path.stem}.png'
                if not labels.is_file():
                    refuse(f'annotations/{folder}/{labels.name} is missing')
                yield MappedImage(split, path, labels, read_ade_map)


def read_ade_map(path: Path) -> np.ndarray:
    """Classes from 0; 0 in the file is none."""
    values = read_pixels(path)
    if values.ndim != 2 or values.max() > 150:
        raise ValueError(f'{path.name} is no map of the ADE20K benchmark: ids go from 0 to 150')
    return positions(values, values > 0, shift=-1)


#: The highest number that the colours of a map can tell.
_LAST = 25 * 256 + 255


class Ade20kFull(Publisher):
    """Reads ``ADE20K_2021_17_01``: a ``.jpg``, ``.json`` and ``_seg.png`` an image.

    They lie below ``images/ADE/{training,validation}``. Classes and their numbers come from the
    json files; the publisher's index is a pickle, which is not read. Objects count, parts of
    objects do not. See :class:`Publisher`.
    """

    def __init__(self, root: str | Path) -> None:
        super().__init__(root)
        problems: list[str] = []
        names: dict[int, str] = {}
        self._paths: list[tuple[str, Path]] = []
        for folder, split in SPLITS.items():
            paths = sorted((self.root / 'images' / 'ADE' / folder).rglob('*.jpg'))
            if not paths:
                problems.append(f'images/ADE/{folder} has no images. Fix: {GIVE_FOLDER}')
            for path in paths:
                self._paths.append((split, path))
                if not path.with_name(f'{path.stem}_seg.png').is_file():
                    problems.append(f'{folder}: {path.stem}_seg.png is missing')
                try:
                    names.update(_read_names(path.with_suffix('.json')))
                except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
                    problems.append(f'{folder}: {path.stem}.json cannot be read ({error!r})')
        if problems:
            raise SourceError(self.root, problems)
        #: Names in the order of the publisher's numbers.
        self.classes = list(dict.fromkeys(names[number] for number in sorted(names)))
        place = {name: i for i, name in enumerate(self.classes)}
        self._table = np.full(max(names, default=0) + 1, NONE, np.int16)
        for number, name in names.items():
            self._table[number] = place[name]

    def _images(self, refuse: Callable[[str], object]) -> Iterator[MappedImage]:
        read = partial(read_full_map, table=self._table)
        for split, path in self._paths:
            yield MappedImage(split, path, path.with_name(f'{path.stem}_seg.png'), read)


def _read_names(path: Path) -> dict[int, str]:
    # Some files of the publisher are in another encoding.
    objects = read_json(path, fallback='latin-1')['annotation']['object']
    names = {int(each['name_ndx']): str(each['name']) for each in objects if each['name_ndx'] > 0}
    if max(names, default=0) > _LAST:
        raise ValueError(f'a class has the number {max(names)}; maps hold numbers to {_LAST}')
    return names


def read_full_map(path: Path, table: np.ndarray) -> np.ndarray:
    """Classes by number, which is ``red // 10 * 256 + green``; 0 is none."""
    values = read_pixels(path)
    if values.ndim != 3 or values.shape[2] != 3:
        raise ValueError(f'{path.name} is no map of ADE20K: it is not in three colours')
    numbers = values[..., 0].astype(np.int32) // 10 * 256 + values[..., 1]
    if numbers.max() >= len(table) or (table[numbers[numbers > 0]] == NONE).any():
        raise ValueError(f'{path.name} has a class that no json file names')
    return np.where(numbers > 0, table[numbers], np.int16(NONE))
