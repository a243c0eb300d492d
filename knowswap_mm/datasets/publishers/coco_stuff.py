"""COCO with the maps of COCO-Stuff."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from knowswap_mm.datasets.publishers.mapped_picture import NONE, MappedPicture
from knowswap_mm.datasets.publishers.picture import SourceError
from knowswap_mm.errors import FileError
from knowswap_mm.json_file import read_lines

_BORDER = 255


class CocoStuff:
    """Reads ``stuffthingmaps/{train,val}2017``, ``{train,val}2017`` and ``labels.txt``.

    ``labels.txt`` is the publisher's list, ``1: person`` and so on; a map has that number less one.

    Args:
        root (str | Path): The folder with ``stuffthingmaps``.

    Raises:
        SourceError: If the list or the pictures are missing, or one has no map.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        try:
            lines = read_lines(self.root / 'labels.txt')
        except FileError as error:
            fix = "put the labels.txt of COCO-Stuff's repository beside stuffthingmaps"
            raise SourceError(
                self.root, [f'labels.txt cannot be read ({error}). Fix: {fix}']
            ) from error
        found = (re.fullmatch(r'(\d+)[:\s]\s*(\S.*)', line) for line in lines)
        rows = [row.groups() for row in found if row]
        names = {int(number) - 1: name for number, name in rows if int(number) > 0}
        if not names:
            raise SourceError(self.root, ['labels.txt has no line like "1: person"'])
        self.classes = list(dict.fromkeys(names[number] for number in sorted(names)))
        self._table = np.full(256, NONE, np.int16)
        for number, name in names.items():
            self._table[number] = self.classes.index(name)

    def pictures(self) -> list[MappedPicture]:
        """All pictures, by split and name."""
        read = partial(read_stuff_map, table=self._table)
        found, problems = [], []
        for split in ('train', 'val'):
            paths = sorted((self.root / 'stuffthingmaps' / f'{split}2017').glob('*.png'))
            if not paths:
                problems.append(f'stuffthingmaps/{split}2017 has no maps')
            for path in paths:
                picture = self.root / f'{split}2017' / f'{path.stem}.jpg'
                if not picture.is_file():
                    problems.append(f'{split}2017/{picture.name} is missing')
                found.append(MappedPicture(split, picture, path, read))
        if problems:
            raise SourceError(self.root, problems)
        return found


def read_stuff_map(path: Path, table: np.ndarray) -> np.ndarray:
    """Classes by number; 255 is none."""
    with Image.open(path) as opened:
        values = np.asarray(opened)
    if values.ndim != 2 or (table[values[values != _BORDER]] == NONE).any():
        raise ValueError(f'{path.name} is no map of COCO-Stuff: it has numbers without a label')
    return table[values]
