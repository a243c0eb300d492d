"""Writes chosen pictures as class folders that our configs read."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from knowswap_mm.datasets.generators.tree_writer import load_manifest, write_tree
from knowswap_mm.datasets.publishers.picture import Picture, SourceError

WAYS = ('link', 'copy')
SHEET_SIDE, SHEET_COLUMNS = 96, 8


class PictureTree:
    """A folder ``<root>/<split>/<class>/<picture>`` with lists, a manifest and a contact sheet.

    ``splits/<split>.txt`` names the pictures, to share and to compare; ``classes.txt`` the classes.

    Args:
        root (str | Path): The folder to write.
        source (str | Path): Where the pictures come from, for messages.
    """

    def __init__(self, root: str | Path, source: str | Path) -> None:
        self.root, self.source = Path(root), Path(source)

    def write(
        self,
        pictures: Sequence[Picture],
        request: Mapping[str, Any],
        way: str = 'link',
        roles: Mapping[str, Sequence[str]] | None = None,
    ) -> bool:
        """Check and write the pictures; all of them or none.

        Args:
            pictures (Sequence[Picture]): The pictures.
            request (Mapping[str, Any]): What was asked for; a finished tree of the same request
                and pictures is left alone.
            way (str): ``link`` (hard link, else symbolic link, else copy) or ``copy``.
            roles (Mapping | None): Classes of each role, for ``roles/<role>.txt``.

        Returns:
            bool: True if the tree was written, False if it was there already.

        Raises:
            SourceError: If a picture cannot be decoded, or two have one name.
            FileExistsError: If the folder holds something else.
        """
        names = [self._name(picture) for picture in pictures]
        if double := [name for name, count in Counter(names).items() if count > 1]:
            raise SourceError(self.source, [f'two pictures would be {name}' for name in double])
        digest = hashlib.sha256('\n'.join(sorted(names)).encode()).hexdigest()
        full = dict(request, way=way, pictures=digest, roles=dict(roles or {}))

        def build(folder: Path) -> dict[str, int]:
            self._check(pictures)
            for name, picture in zip(tqdm(names, 'writing', disable=None), pictures, strict=True):
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                place(picture.path.resolve(), target, way)
            self._write_lists(folder, pictures, names)
            for role, classes in (roles or {}).items():
                _write_lines(folder / 'roles' / f'{role}.txt', classes)
            write_contact_sheet(folder / 'contact_sheet.jpg', pictures)
            return dict(Counter(f'{p.split}/{p.class_name}' for p in pictures))

        return write_tree(self.root, full, build, read_picture_manifest)

    @staticmethod
    def _name(picture: Picture) -> str:
        return f'{picture.split}/{picture.class_name}/{picture.path.name}'

    def _check(self, pictures: Sequence[Picture]) -> None:
        with ThreadPoolExecutor(8) as pool:
            found = pool.map(_problem, (picture.path for picture in pictures))
            shown = tqdm(found, 'checking', total=len(pictures), disable=None)
            problems = [problem for problem in shown if problem]
        if problems:
            raise SourceError(self.source, problems)

    @staticmethod
    def _write_lists(folder: Path, pictures: Sequence[Picture], names: Sequence[str]) -> None:
        lists: dict[str, list[str]] = {}
        for picture, name in zip(pictures, names, strict=True):
            lists.setdefault(picture.split, []).append(name.split('/', 1)[1])
        for split, lines in lists.items():
            _write_lines(folder / 'splits' / f'{split}.txt', sorted(lines))
        _write_lines(folder / 'classes.txt', sorted({picture.class_name for picture in pictures}))


def read_picture_manifest(root: str | Path) -> dict | None:
    """The manifest if every class folder still has its pictures, else None."""
    manifest = load_manifest(Path(root))
    try:
        for name, count in (manifest or {}).get('counts', {}).items():
            if sum(1 for _ in (Path(root) / name).iterdir()) != count:
                return None
    except OSError:
        return None
    return manifest


def write_contact_sheet(path: Path, pictures: Sequence[Picture]) -> None:
    """Write small copies of some pictures, a row a class, to look at.

    Args:
        path (Path): A ``.jpg`` file.
        pictures (Sequence[Picture]): The pictures; the first ones of each class are shown.
    """
    rows: dict[str, list[Path]] = {}
    for picture in pictures:
        row = rows.setdefault(picture.class_name, [])
        if len(row) < SHEET_COLUMNS:
            row.append(picture.path)
    sheet = Image.new('RGB', (SHEET_SIDE * SHEET_COLUMNS, SHEET_SIDE * len(rows)), 'white')
    for y, name in enumerate(sorted(rows)):
        for x, each in enumerate(rows[name]):
            with Image.open(each) as picture:
                small = picture.convert('RGB').resize((SHEET_SIDE, SHEET_SIDE))
            sheet.paste(small, (x * SHEET_SIDE, y * SHEET_SIDE))
    sheet.save(path, quality=80)


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(''.join(f'{line}\n' for line in lines), encoding='utf-8')


def _problem(path: Path) -> str | None:
    try:
        with Image.open(path) as picture:
            picture.load()
    except Exception as error:  # a damaged file may raise anything
        return f'{path}: {type(error).__name__}: {error}'
    return None


def place(source: Path, target: Path, way: str) -> None:
    """Put a picture where it belongs, by a link where one can be made."""
    if way == 'link':
        for make in (os.link, os.symlink):
            try:
                make(source, target)
                return
            except OSError:
                continue
    shutil.copyfile(source, target)
