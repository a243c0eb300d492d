"""A table of images and their classes, as spreadsheets write it."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

from knowswap_mm.data_tools.images import Publisher, SourceError, SourceImage
from knowswap_mm.datasets.images import is_image_name, name_problem
from knowswap_mm.errors import FileError
from knowswap_mm.io.text_files import ANNOTATION_BYTES, read_text

#: Heads of the columns, in lower case.
_IMAGE = ('image', 'file', 'filename', 'file_name', 'path', 'filepath', 'image_path', 'img')
_LABEL = ('label', 'class', 'class_name', 'category', 'target', 'name')
_SPLIT = ('split', 'set', 'subset', 'fold')
_SPLITS = dict(train='train', training='train', val='val', valid='val', validation='val')
_FIX = 'write a line "image,label" and then one a file, e.g. photos/a 1.jpg,cat'


class CsvList(Publisher):
    """Reads ``image,label`` lines; the names of images count from the folder of the file.

    Columns are found by the names in the first line, in any order (``filename``, ``class``, ...); a
    file without such a line has the image first and its class second. ``split`` may be a third one
    (``train``, ``val``, ``test``); without it a share of each class, drawn by the seed, is ``val``.
    Columns may be set apart by commas, semicolons or tabs. See :class:`Publisher`.
    """

    def __init__(self, root: str | Path, val_share: float = 0.2, seed: int = 0) -> None:
        super().__init__(root, val_share, seed)
        self.table = self.root
        self.root = self.table.parent

    def _images(self, refuse: Callable[[str], object]) -> Iterator[SourceImage]:
        rows, columns, has_split = self._rows()
        found = []
        for number, row in rows:
            name, label, *rest = ((row[at].strip() if at < len(row) else '') for at in columns)
            where = f'{self.table.name}, line {number}'
            split = _SPLITS.get(rest[0].lower(), rest[0].lower()) if rest else 'train'
            name = name.replace('\\', '/')
            problem = 'has no label' if not label else name_problem(name)
            if problem is None and split not in ('train', 'val', 'test'):
                problem = f'is in the split {rest[0]!r:.40}, which is not train, val or test'
            if problem is None and not is_image_name(name):
                problem = 'is no image that a host reads, by its ending'
            if problem is None and not (self.root / name).is_file():
                problem = f'is not in {self.root}'
            if problem is None and '/' in label:
                problem = f'has the label {label!r:.40}: a class is a folder, and takes no slash'
            if problem:
                refuse(f'{where}: {name!r:.80} {problem}')
                continue
            flat = name.replace('/', '_')
            found.append(SourceImage(split, label, self.root / name, flat))
        yield from found if has_split else self._hold_out(found)

    def _rows(self) -> tuple[list[tuple[int, list[str]]], list[int], bool]:
        """Rows with their numbers, and the columns of image, label and split."""
        try:
            text = read_text(self.table, ANNOTATION_BYTES)
        except FileError as error:
            raise SourceError(self.table, [f'{error.problem}. Fix: {error.fix}']) from error
        first = text.partition('\n')[0]
        mark = max(',;\t', key=first.count)
        try:
            read = list(csv.reader(text.splitlines(), delimiter=mark, strict=True))
        except csv.Error as error:
            raise SourceError(self.table, [f'is no table ({error}). Fix: {_FIX}']) from error
        rows = [(i, row) for i, row in enumerate(read, 1) if any(cell.strip() for cell in row)]
        head = [cell.strip().lower() for cell in rows[0][1]] if rows else []
        places = [
            next((head.index(name) for name in names if name in head), None)
            for names in (_IMAGE, _LABEL, _SPLIT)
        ]
        if None not in places[:2]:
            chosen = [place for place in places if place is not None]
            rows = rows[1:]
        else:
            chosen = [0, 1]
        if not rows or (chosen == [0, 1] and len(rows[0][1]) < 2):
            raise SourceError(self.table, [f'has no image with a label. Fix: {_FIX}'])
        return rows, chosen, len(chosen) == 3

    def _hold_out(self, images: list[SourceImage]) -> Iterator[SourceImage]:
        by_class: dict[str, list[SourceImage]] = {}
        for image in images:
            by_class.setdefault(image.class_name, []).append(image)
        for name, members in by_class.items():
            held = self._held_out(len(members), name)
            for number, each in enumerate(members):
                split = 'val' if number in held else 'train'
                yield SourceImage(split, name, each.path, each.name)
