"""Writes boxed pictures in COCO format."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from knowswap_mm.datasets.generators.tree_writer import load_manifest, write_tree
from knowswap_mm.datasets.publishers.boxed_picture import BoxedPicture
from knowswap_mm.datasets.publishers.picture import Picture, SourceError
from knowswap_mm.datasets.publishers.picture_tree import place, write_contact_sheet


class CocoTree:
    """A folder ``<root>/<split>/<picture>`` with ``annotations/instances_<split>.json``.

    Boxes are clipped to their picture. Categories are numbered from 1 in the order given.

    Args:
        root (str | Path): The folder to write.
        source (str | Path): Where the pictures come from, for messages.
    """

    def __init__(self, root: str | Path, source: str | Path) -> None:
        self.root, self.source = Path(root), Path(source)

    def write(
        self,
        pictures: Sequence[BoxedPicture],
        classes: Sequence[str],
        request: Mapping[str, Any],
        way: str = 'link',
    ) -> bool:
        """Check and write the pictures; all of them or none.

        Args:
            pictures (Sequence[BoxedPicture]): The pictures.
            classes (Sequence[str]): Their classes, in the order of the categories.
            request (Mapping[str, Any]): What was asked for.
            way (str): ``link`` or ``copy``.

        Returns:
            bool: True if the tree was written, False if it was there already.

        Raises:
            SourceError: If a picture cannot be decoded, two have one name, or a box lies outside.
            FileExistsError: If the folder holds something else.
        """
        names = [f'{picture.split}/{picture.path.name}' for picture in pictures]
        if double := [name for name, count in Counter(names).items() if count > 1]:
            raise SourceError(self.source, [f'two pictures would be {name}' for name in double])
        digest = hashlib.sha256('\n'.join(sorted(names)).encode()).hexdigest()
        full = dict(request, way=way, pictures=digest, classes=list(classes))

        def build(folder: Path) -> dict[str, int]:
            contents = self._contents(pictures, classes)
            for name, picture in zip(names, pictures, strict=True):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                place(picture.path.resolve(), folder / name, way)
            (folder / 'annotations').mkdir()
            for split, content in contents.items():
                path = folder / 'annotations' / f'instances_{split}.json'
                path.write_text(json.dumps(content), encoding='utf-8')
            shown = [Picture(p.split, p.objects[0][0], p.path) for p in pictures]
            write_contact_sheet(folder / 'contact_sheet.jpg', shown)
            return dict(Counter(picture.split for picture in pictures))

        return write_tree(self.root, full, build, read_coco_manifest)

    def _contents(
        self, pictures: Sequence[BoxedPicture], classes: Sequence[str]
    ) -> dict[str, dict[str, list]]:
        numbers = {name: i for i, name in enumerate(classes, 1)}
        categories = [dict(id=number, name=name) for name, number in numbers.items()]
        contents: dict[str, dict[str, list]] = {}
        problems = []
        for picture in pictures:
            try:
                with Image.open(picture.path) as opened:
                    opened.load()
                    width, height = opened.size
            except Exception as error:  # a damaged file may raise anything
                problems.append(f'{picture.path}: {type(error).__name__}: {error}')
                continue
            empty = dict(images=[], annotations=[], categories=categories)
            content = contents.setdefault(picture.split, empty)
            image = len(content['images']) + 1
            entry = dict(id=image, file_name=picture.path.name, width=width, height=height)
            content['images'].append(entry)
            for name, (x, y, w, h) in picture.objects:
                left, top = max(x, 0.0), max(y, 0.0)
                box = [left, top, min(x + w, width) - left, min(y + h, height) - top]
                if min(box[2:]) < 1:
                    problems.append(f'{picture.path}: the box {(x, y, w, h)} lies outside')
                    continue
                content['annotations'].append(
                    dict(
                        id=len(content['annotations']) + 1,
                        image_id=image,
                        category_id=numbers[name],
                        bbox=box,
                        area=box[2] * box[3],
                        iscrowd=0,
                    )
                )
        if problems:
            raise SourceError(self.source, problems)
        return contents


def read_coco_manifest(root: str | Path) -> dict | None:
    """The manifest if every split still has its pictures and json, else None."""
    root = Path(root)
    manifest = load_manifest(root)
    try:
        for split, count in (manifest or {}).get('counts', {}).items():
            (root / 'annotations' / f'instances_{split}.json').stat()
            if sum(1 for _ in (root / split).iterdir()) != count:
                return None
    except OSError:
        return None
    return manifest
