"""Writes boxed pictures in COCO format."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from knowswap_mm.datasets.generators.tree_writer import Expected
from knowswap_mm.datasets.publishers.boxed_picture import Box, BoxedObject, BoxedPicture
from knowswap_mm.datasets.publishers.data_tree import DataTree
from knowswap_mm.datasets.publishers.inspection import Finding
from knowswap_mm.datasets.publishers.picture import Picture, SourceError
from knowswap_mm.json_file import write_lines


class CocoTree(DataTree):
    """A folder ``<root>/<split>/<picture>`` with ``annotations/instances_<split>.json``.

    Boxes are clipped to their picture. Objects of classes without an id are left out. See
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
        """Check and write the pictures; all of them or none.

        Args:
            pictures (Sequence[BoxedPicture]): The pictures.
            ids (Mapping[str, int]): Category ids of the chosen classes.
            request (Mapping[str, Any]): What was asked for.
            way (str): ``link`` or ``copy``.
            roles (Mapping | None): Classes of each role, for ``roles/<role>.txt``.

        Returns:
            bool: True if the tree was written, False if it was there already.

        Raises:
            SourceError: If a picture cannot be decoded, two have one name, or a box lies outside.
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
