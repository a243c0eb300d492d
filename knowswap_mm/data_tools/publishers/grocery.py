"""Grocery Store Dataset: photos taken in shops."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path

from knowswap_mm.data_tools.images import GIVE_FOLDER, Publisher, SourceError, SourceImage
from knowswap_mm.errors import FileError
from knowswap_mm.io.text_files import lines_of, read_text

_NAME, _NUMBER = 'Class Name (str)', 'Class ID (int)'
_LISTS = dict(train='train', val='train', test='test')


class GroceryStore(Publisher):
    """Reads ``dataset/{train,val,test}.txt`` and ``dataset/classes.csv`` of the repository.

    A line of a list is ``path, fine class, coarse class``; classes are the 81 fine ones. The few
    images of ``val``, which not all classes have, go into ``train`` with ``val_`` before their
    names, because they have the names of other images there. See :class:`Publisher`; the root is
    the repository or its folder ``dataset``.

    Klasson, Zhang and Kjellström: A Hierarchical Grocery Store Image Dataset (WACV 2019).
    """

    def __init__(self, root: str | Path) -> None:
        super().__init__(root)
        if (self.root / 'dataset').is_dir():
            self.root = self.root / 'dataset'

    def _images(self, refuse: Callable[[str], object]) -> Iterator[SourceImage]:
        names = self._class_names()
        for part, split in _LISTS.items():
            for line in lines_of(self._read(f'{part}.txt')):
                image, *labels = (each.strip() for each in line.rsplit(',', 2))
                path = self.root / image
                if len(labels) != 2 or labels[0] not in names:
                    refuse(f'{part}.txt: {line!r:.120} has no class of classes.csv')
                elif not path.is_file():
                    refuse(f'{part}.txt: {image} is missing')
                else:
                    name = f'val_{path.name}' if part == 'val' else ''
                    yield SourceImage(split, names[labels[0]], path, name)

    def _class_names(self) -> dict[str, str]:
        """Names of the fine classes by their numbers."""
        rows = list(csv.DictReader(io.StringIO(self._read('classes.csv'), newline='')))
        names = {(row.get(_NUMBER) or '').strip(): (row.get(_NAME) or '').strip() for row in rows}
        if not rows or not all(names) or not all(names.values()) or len(names) < len(rows):
            problem = f'classes.csv must give each class a {_NAME!r} and a {_NUMBER!r} of its own'
            raise SourceError(self.root, [problem])
        return names

    def _read(self, name: str) -> str:
        try:
            return read_text(self.root / name)
        except FileError as error:
            problem = f'{name} cannot be read ({error}). Fix: {GIVE_FOLDER}'
            raise SourceError(self.root, [problem]) from error
