"""Writes images with semantic maps."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from knowswap_mm.data_tools.generators.trees import Expected
from knowswap_mm.data_tools.images import (
    NONE,
    Box,
    BoxedObject,
    BoxedPicture,
    MappedPicture,
    Picture,
    SourceError,
)
from knowswap_mm.data_tools.inspection import Finding
from knowswap_mm.data_tools.selection import check_classes, check_draw, select_pictures
from knowswap_mm.data_tools.trees import DataTree
from knowswap_mm.io.text_files import write_lines


class CocoTree(DataTree):
    """A folder ``<root>/<split>/<picture>`` with ``annotations/instances_<split>.json``.

    Boxes are clipped to their image. Objects of classes without an id are left out. See
    :class:`DataTree` for its arguments.
    """

    def write(
        self,
        pictures: Sequence[BoxedPicture],
        ids: Mapping[str, int],
        request: Mapping[str, Any],
        way: str = 'link',
        roles: Mapping[str, Sequence[str]] | None = None,
    ) -> bool:
        """Check and write the images; all of them or none.

        Args:
            pictures (Sequence[BoxedPicture]): The images.
            ids (Mapping[str, int]): Category ids of the chosen classes.
            request (Mapping[str, Any]): What was asked for.
            way (str): ``link`` or ``copy``.
            roles (Mapping | None): Classes of each role, for ``roles/<role>.txt``.

        Returns:
            bool: True if the tree was written, False if it was there already.

        Raises:
            SourceError: If an image cannot be decoded, two have one name, or a box lies outside.
            FileExistsError: If the folder holds something else.
        """
        names = [f'{picture.split}/{picture.path.name}' for picture in pictures]
        roles = dict(roles or {})
        full = dict(request, way=way, ids=dict(ids), roles=roles)

        def build(folder: Path) -> dict[str, int]:
            findings = self._inspect(folder, [picture.path for picture in pictures])
            contents = self._contents(pictures, findings, ids)
            self._place(folder, names, pictures, findings, way)
            (folder / 'annotations').mkdir(exist_ok=True)
            for split, content in contents.items():
                path = folder / 'annotations' / f'instances_{split}.json'
                path.write_text(json.dumps(content), encoding='utf-8')
            for role, members in roles.items():
                write_lines(folder / 'roles' / f'{role}.txt', members)
            self._finish(folder, [Picture(p.split, p.class_names[0], p.path) for p in pictures])
            return dict(Counter(picture.split for picture in pictures))

        return self._write(names, [picture.path for picture in pictures], full, build)

    @staticmethod
    def expect(counts: dict) -> Expected:
        """See :class:`DataTree`."""
        return counts, [f'annotations/instances_{split}.json' for split in counts]

    def _contents(
        self,
        pictures: Sequence[BoxedPicture],
        findings: Sequence[Finding],
        ids: Mapping[str, int],
    ) -> dict[str, dict[str, list]]:
        categories = [dict(id=number, name=name) for name, number in ids.items()]
        contents: dict[str, dict[str, list]] = {}
        problems = []
        for picture, finding in zip(pictures, findings, strict=True):
            width, height = finding['width'], finding['height']
            if picture.announced not in (None, (width, height)):
                turned = ', turned by EXIF' if finding['turned'] else ''
                problems.append(
                    f'{picture.path}: its boxes are for {picture.announced[0]} x '
                    f'{picture.announced[1]} pixels, the file has {width} x {height}{turned}'
                )
            empty = dict(images=[], annotations=[], categories=categories)
            content = contents.setdefault(picture.split, empty)
            image = len(content['images']) + 1
            entry = dict(id=image, file_name=picture.path.name, width=width, height=height)
            content['images'].append(entry)
            for item in picture.objects:
                if item.class_name not in ids:
                    continue
                box = _clip(item, width, height)
                if min(box[2:]) < 1:
                    problems.append(f'{picture.path}: the box {item.box} lies outside')
                    continue
                known = dict(area=box[2] * box[3], iscrowd=0)
                content['annotations'].append(
                    dict(
                        known | dict(item.rest),
                        id=len(content['annotations']) + 1,
                        image_id=image,
                        category_id=ids[item.class_name],
                        bbox=list(box),
                    )
                )
        if problems:
            raise SourceError(self.source, problems)
        return contents


def _clip(item: BoxedObject, width: int, height: int) -> Box:
    x, y, w, h = item.box
    left, top = max(x, 0.0), max(y, 0.0)
    return left, top, min(x + w, width) - left, min(y + h, height) - top


#: In the maps written: no class.
UNLABELLED = 255


class MapTree(DataTree):
    """A folder ``<root>/<split>/images/<n>.jpg`` with ``<root>/<split>/annotations/<n>.png``.

    Classes that are not chosen are unlabelled (255) in the maps, and images without a pixel of a
    chosen class are left out.

    Args:
        root (str | Path): The folder to write.
        source (str | Path): Where the images come from, for messages.
        folders (tuple[str, str]): Folders of the images and the maps of a split.
    """

    def __init__(
        self,
        root: str | Path,
        source: str | Path,
        folders: tuple[str, str] = ('{}/images', '{}/annotations'),
    ) -> None:
        super().__init__(root, source)
        self.folders = folders

    def write(
        self,
        pictures: Sequence[MappedPicture],
        known: Sequence[str],
        ids: Mapping[str, int],
        request: Mapping[str, Any],
        way: str = 'link',
        roles: Mapping[str, Sequence[str]] | None = None,
        required: Sequence[str] = (),
        **draw: Any,
    ) -> bool:
        """Check and write the images; all of them or none.

        Args:
            pictures (Sequence[MappedPicture]): The images.
            known (Sequence[str]): All classes of the publisher.
            ids (Mapping[str, int]): The chosen ones with their ids in the maps written.
            request (Mapping[str, Any]): What was asked for.
            way (str): ``link`` or ``copy``.
            roles (Mapping | None): Classes of each role, for ``roles/<role>.txt``.
            required (Sequence[str]): Classes that some image must have.
            draw (Any): ``per_class``, ``fraction`` and ``seed`` of :func:`select_pictures`.

        Returns:
            bool: True if the tree was written, False if it was there already.

        Raises:
            SourceError: If a class is unknown, a file is damaged, or a required class has no pixel.
            ValueError: If a number is out of range.
            FileExistsError: If the folder holds something else.
        """
        check_draw(draw.get('per_class'), draw.get('fraction', 1.0))
        check_classes(list(ids), known, self.source)
        if not all(0 <= number < UNLABELLED for number in ids.values()):
            fix = 'choose fewer classes (--learn, --classes) or another first id (--first-id)'
            text = f'ids to {max(ids.values())} do not fit into 0 to {UNLABELLED - 1}. Fix: {fix}'
            raise SourceError(self.source, [text])
        table = np.full(len(known) + 1, UNLABELLED, np.uint8)
        for name, number in ids.items():
            table[list(known).index(name)] = number
        roles = dict(roles or {})
        full = dict(request, way=way, ids=dict(ids), folders=self.folders, roles=roles, **draw)

        def look(place: int) -> dict[str, Any]:
            picture = pictures[place]
            values = picture.read(picture.map_path)
            with Image.open(picture.path) as opened:
                if opened.size != values.shape[::-1]:
                    raise ValueError(
                        f'{picture.map_path.name} has {values.shape[::-1]} pixels, not '
                        f'{opened.size}'
                    )
            return dict(classes=[known[i] for i in np.unique(values) if i != NONE])

        def build(folder: Path) -> dict[str, int]:
            findings = self._inspect(folder, [picture.path for picture in pictures], look)
            chosen, findings = self._choose(pictures, findings, list(ids), required, draw)
            self._place(folder, self._names(chosen), chosen, findings, way)
            for picture in chosen:
                maps = folder / self.folders[1].format(picture.split)
                maps.mkdir(parents=True, exist_ok=True)
                values = table[picture.read(picture.map_path)]
                Image.fromarray(values).save(maps / f'{picture.map_path.stem}.png')
            for role, members in roles.items():
                write_lines(folder / 'roles' / f'{role}.txt', members)
            first = [next(name for name in p.class_names if name in ids) for p in chosen]
            shown = [Picture(p.split, name, p.path) for p, name in zip(chosen, first, strict=True)]
            self._finish(folder, shown)
            counts = Counter(picture.split for picture in chosen)
            return {each.format(s): n for s, n in counts.items() for each in self.folders}

        paths = [path for picture in pictures for path in (picture.path, picture.map_path)]
        return self._write(self._names(pictures), paths, full, build)

    @staticmethod
    def expect(counts: dict) -> Expected:
        """See :class:`DataTree`."""
        return counts, ['contact_sheet.jpg']

    def _names(self, pictures: Sequence[MappedPicture]) -> list[str]:
        return [f'{self.folders[0].format(p.split)}/{p.path.name}' for p in pictures]

    def _choose(
        self,
        pictures: Sequence[MappedPicture],
        findings: Sequence[Finding],
        classes: Sequence[str],
        required: Sequence[str],
        draw: Mapping[str, Any],
    ) -> tuple[list[MappedPicture], list[Finding]]:
        full = [
            replace(picture, class_names=tuple(finding['classes']))
            for picture, finding in zip(pictures, findings, strict=True)
        ]
        seen = {name for picture in full for name in picture.class_names}
        if lost := [f'class {name!r} has no pixel' for name in required if name not in seen]:
            raise SourceError(self.source, lost)
        by_path = {p.path: finding for p, finding in zip(full, findings, strict=True)}
        there = [name for name in classes if name in seen]
        chosen = select_pictures(full, there, root=self.source, **draw)
        return chosen, [by_path[picture.path] for picture in chosen]
