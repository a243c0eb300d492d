"""Writes images with boxes, or with semantic maps."""

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
    BoxedImage,
    BoxedObject,
    MappedImage,
    SourceError,
)
from knowswap_mm.data_tools.inspection import Finding, upright_image
from knowswap_mm.data_tools.selection import check_classes, check_draw, select_images
from knowswap_mm.data_tools.trees import DataTree
from knowswap_mm.io.text_files import write_lines
from knowswap_mm.visualization.images.detection import draw_boxes
from knowswap_mm.visualization.images.drawer import with_legend
from knowswap_mm.visualization.images.segmentation import draw_map


class CocoTree(DataTree):
    """A folder ``<root>/<split>/<image>`` with ``annotations/instances_<split>.json``.

    Boxes are clipped to their image. Objects of classes without an id are left out. See
    :class:`DataTree` for its arguments.
    """

    def write(
        self,
        images: Sequence[BoxedImage],
        ids: Mapping[str, int],
        request: Mapping[str, Any],
        way: str = 'link',
        roles: Mapping[str, Sequence[str]] | None = None,
    ) -> bool:
        """Check and write the images; all of them or none, as :meth:`ImageTree.write`.

        ``ids`` are the category ids of the chosen classes. A box outside of its image is a
        :class:`SourceError`.
        """
        names = [f'{image.split}/{image.name or image.path.name}' for image in images]
        roles = dict(roles or {})
        full = dict(request, way=way, ids=dict(ids), roles=roles)

        def build(folder: Path) -> dict[str, int]:
            findings = self._inspect(folder, images)
            contents = self._contents(images, findings, ids)
            self._place(folder, names, images, findings, way)
            (folder / 'annotations').mkdir(exist_ok=True)
            for split, content in contents.items():
                path = folder / 'annotations' / f'instances_{split}.json'
                path.write_text(json.dumps(content), encoding='utf-8')
            members = [[n for n in image.class_names if n in ids] for image in images]

            def tile(place: int, name: str) -> Image.Image:
                size = tuple(findings[place][side] for side in ('width', 'height'))
                return _with_boxes(folder / names[place], images[place], size, list(ids), name)

            self._finish(folder, members, tile, roles, _COLUMNS)
            return dict(Counter(image.split for image in images))

        return self._write(names, [image.path for image in images], full, build)

    @staticmethod
    def expect(counts: dict) -> Expected:
        """See :class:`DataTree`."""
        return counts, [f'annotations/instances_{split}.json' for split in counts]

    def _contents(
        self,
        images: Sequence[BoxedImage],
        findings: Sequence[Finding],
        ids: Mapping[str, int],
    ) -> dict[str, dict[str, list]]:
        categories = [dict(id=number, name=name) for name, number in ids.items()]
        contents: dict[str, dict[str, list]] = {}
        problems = []
        for image, finding in zip(images, findings, strict=True):
            width, height = finding['width'], finding['height']
            if image.announced not in (None, (width, height)):
                turned = ', turned by EXIF' if finding['turned'] else ''
                problems.append(
                    f'{image.path}: its boxes are for {image.announced[0]} x '
                    f'{image.announced[1]} pixels, the file has {width} x {height}{turned}'
                )
            empty = dict(images=[], annotations=[], categories=categories)
            content = contents.setdefault(image.split, empty)
            number = len(content['images']) + 1
            name = image.name or image.path.name
            entry = dict(id=number, file_name=name, width=width, height=height)
            content['images'].append(entry)
            for item in image.objects:
                if item.class_name not in ids:
                    continue
                box = _clip(item, width, height)
                if min(box[2:]) < 1:
                    problems.append(f'{image.path}: the box {item.box} lies outside')
                    continue
                known = dict(area=box[2] * box[3], iscrowd=0)
                content['annotations'].append(
                    dict(
                        known | dict(item.rest),
                        id=len(content['annotations']) + 1,
                        image_id=number,
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


#: Longer side of an image with labels in a contact sheet, and the images of a class.
_SIDE, _COLUMNS = 256, 4
#: Boxes that are drawn of an image at most, classes that are named, and the size of letters.
_BOXES, _NAMES, _LETTERS = 20, 6, 12


def _with_boxes(
    path: Path, image: BoxedImage, size: tuple[int, int], classes: Sequence[str], name: str
) -> Image.Image:
    """A small copy of an image with its boxes; those of a class first, and large ones."""
    small = upright_image(path, _SIDE)
    across, down = (now / whole for now, whole in zip(small.size, size, strict=True))
    objects = [each for each in image.objects if each.class_name in classes]
    objects.sort(key=lambda each: (each.class_name != name, -each.box[2] * each.box[3]))
    boxes = []
    for each in reversed(objects[:_BOXES]):  # the first ones lie on top
        x, y, w, h = _clip(each, *size)
        corners = (across * x, down * y, across * (x + w), down * (y + h))
        boxes.append((corners, classes.index(each.class_name)))
    drawn = draw_boxes(np.asarray(small), boxes, classes, _SIDE).image
    left = f'{_BOXES} of {len(objects)} boxes are drawn' if len(objects) > _BOXES else ''
    return with_legend(drawn, [(left, 'white')] if left else [], _LETTERS)


def _with_map(path: Path, map_path: Path, ids: Mapping[str, int], name: str) -> Image.Image:
    """A small copy of an image with the colours of its map, and the names of the largest classes.

    A class is named first, however small it is.
    """
    small = upright_image(path, _SIDE)
    with Image.open(map_path) as opened:
        numbers = np.asarray(opened.resize(small.size, Image.Resampling.NEAREST))
    labels = np.full(numbers.shape, NONE, np.int16)
    for label, number in enumerate(ids.values()):
        labels[numbers == number] = label
    drawing = draw_map(np.asarray(small), labels, list(ids), _SIDE)
    counts = Counter(labels.ravel().tolist())
    pixels = {each: counts[label] for label, each in enumerate(ids)}
    legend = sorted(drawing.legend, key=lambda each: (each[0] != name, -pixels[each[0]]))
    if not pixels[name]:
        legend.insert(0, (f'{name}: too small to be seen here', 'white'))
    if (rest := len(legend) - _NAMES) > 0:
        legend[_NAMES:] = [(f'and {rest} more', 'white')]
    return with_legend(drawing.image, legend, _LETTERS)


#: In the maps written: no class.
UNLABELLED = 255


class MapTree(DataTree):
    """A folder ``<root>/<split>/images/<n>.jpg`` with ``<root>/<split>/annotations/<n>.png``.

    Classes that are not chosen are unlabelled (255) in the maps, and images without a pixel of a
    chosen class are left out. ``classes.txt`` names the chosen ones in the order of their ids.

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
        images: Sequence[MappedImage],
        known: Sequence[str],
        ids: Mapping[str, int],
        request: Mapping[str, Any],
        way: str = 'link',
        roles: Mapping[str, Sequence[str]] | None = None,
        required: Sequence[str] = (),
        **draw: Any,
    ) -> bool:
        """Check and write the images; all of them or none, as :meth:`ImageTree.write`.

        ``known`` are all classes of the publisher, ``ids`` the chosen ones with their ids in the
        maps written, ``draw`` the options of :func:`select_images`. A class that is unknown, or
        ``required`` and without a pixel, is a :class:`SourceError`.
        """
        check_draw(draw.get('per_class'), draw.get('fraction', 1.0))
        check_classes(list(ids), known, self.source)
        if not all(0 <= number < UNLABELLED for number in ids.values()):
            fix = 'choose fewer classes (--learn, --classes) or another first id (--first-id)'
            text = f'ids from {min(ids.values())} to {max(ids.values())} do not fit into 0 to '
            text += f'{UNLABELLED - 1}. Fix: {fix}'
            raise SourceError(self.source, [text])
        table = np.full(len(known) + 1, UNLABELLED, np.uint8)
        for name, number in ids.items():
            table[list(known).index(name)] = number
        roles = dict(roles or {})
        full = dict(request, way=way, ids=dict(ids), folders=self.folders, roles=roles, **draw)

        def look(place: int) -> dict[str, Any]:
            image = images[place]
            values = image.read(image.map_path)
            with Image.open(image.path) as opened:
                if opened.size != values.shape[::-1]:
                    raise ValueError(
                        f'{image.map_path.name} has {values.shape[::-1]} pixels, not {opened.size}'
                    )
            return dict(classes=[known[i] for i in np.unique(values) if i != NONE])

        def build(folder: Path) -> dict[str, int]:
            findings = self._inspect(folder, images, look)
            chosen, findings = self._choose(images, findings, list(ids), required, draw)
            names = self._names(chosen)
            self._place(folder, names, chosen, findings, way)
            written = []
            for image in chosen:
                maps = folder / self.folders[1].format(image.split)
                maps.mkdir(parents=True, exist_ok=True)
                values = table[image.read(image.map_path)]
                written.append(maps / f'{image.map_path.stem}.png')
                Image.fromarray(values).save(written[-1])
            write_lines(folder / 'classes.txt', list(ids))
            members = [[n for n in image.class_names if n in ids] for image in chosen]

            def tile(place: int, name: str) -> Image.Image:
                return _with_map(folder / names[place], written[place], ids, name)

            self._finish(folder, members, tile, roles, _COLUMNS)
            counts = Counter(image.split for image in chosen)
            return {each.format(s): n for s, n in counts.items() for each in self.folders}

        paths = [path for image in images for path in (image.path, image.map_path)]
        return self._write(self._names(images), paths, full, build)

    @staticmethod
    def expect(counts: dict) -> Expected:
        """See :class:`DataTree`."""
        return counts, ['contact_sheet.jpg']

    def _names(self, images: Sequence[MappedImage]) -> list[str]:
        return [f'{self.folders[0].format(p.split)}/{p.name or p.path.name}' for p in images]

    def _choose(
        self,
        images: Sequence[MappedImage],
        findings: Sequence[Finding],
        classes: Sequence[str],
        required: Sequence[str],
        draw: Mapping[str, Any],
    ) -> tuple[list[MappedImage], list[Finding]]:
        full = [
            replace(image, class_names=tuple(finding['classes']))
            for image, finding in zip(images, findings, strict=True)
        ]
        seen = {name for image in full for name in image.class_names}
        if lost := [f'class {name!r} has no pixel' for name in required if name not in seen]:
            raise SourceError(self.source, lost)
        by_path = {p.path: finding for p, finding in zip(full, findings, strict=True)}
        there = [name for name in classes if name in seen]
        chosen = select_images(full, there, root=self.source, **draw)
        return chosen, [by_path[image.path] for image in chosen]
