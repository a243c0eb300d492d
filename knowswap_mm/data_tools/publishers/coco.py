"""COCO: its boxes, its masks, and the maps of COCO-Stuff."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as masks

from knowswap_mm.data_tools.images import (
    NONE,
    BoxedImage,
    BoxedObject,
    MappedImage,
    Publisher,
    SourceError,
    read_pixels,
)
from knowswap_mm.datasets.coco_values import mask_problem, number, whole
from knowswap_mm.datasets.images import name_problem
from knowswap_mm.errors import FileError
from knowswap_mm.io.text_files import ANNOTATION_BYTES, read_json, read_lines

_KEPT = ('area', 'iscrowd', 'segmentation')


class CocoFolder(Publisher):
    """Reads ``annotations/instances_{train,val}<year>.json`` and ``{train,val}<year>/``.

    Boxes below one pixel and images without an object are left out, as detectors do. See
    :class:`Publisher`.
    """

    def __init__(self, root: str | Path) -> None:
        super().__init__(root)
        #: Category ids by name, in the order of the file.
        self.ids: dict[str, int] = {}

    def _images(self, refuse: Callable[[str], object]) -> Iterator[BoxedImage]:
        for path in self._lists():
            split = re.match(r'instances_(train|val)', path.name)[1]
            yield from self._read(path, split, refuse)

    def _lists(self) -> list[Path]:
        """The json files."""
        paths = sorted((self.root / 'annotations').glob('instances_*.json'))
        paths = [p for p in paths if re.fullmatch(r'instances_(train|val)(20\d\d)?\.json', p.name)]
        splits = [path.name[len('instances_') :][:3] for path in paths]
        if sorted(splits) != ['tra', 'val']:
            names = [path.name for path in paths]
            fix = 'there must be one of train and one of val, e.g. instances_train2017.json'
            raise SourceError(self.root, [f'annotations/ has the lists {names}. Fix: {fix}'])
        return paths

    def _read(
        self, path: Path, split: str, refuse: Callable[[str], object]
    ) -> Iterator[BoxedImage]:
        try:
            content = read_json(path, ANNOTATION_BYTES)
            names = {each['id']: str(each['name']) for each in content['categories']}
            images = {each['id']: str(each['file_name']) for each in content['images']}
            sizes = {
                each['id']: (whole(each.get('width')), whole(each.get('height')))
                for each in content['images']
            }
            objects: dict[int, list[BoxedObject]] = {}
            problems = []
            for item in content['annotations']:
                where = f'{path.name}: annotation {item["id"]}'
                if item['category_id'] not in names:
                    problems.append(f'{where} has category {item["category_id"]}, which is not')
                elif item['image_id'] not in images:
                    problems.append(f'{where} has image {item["image_id"]}, which is not')
                elif min(item['bbox'][2:]) >= 1:
                    rest = {key: item[key] for key in _KEPT if key in item}
                    boxed = BoxedObject(names[item['category_id']], tuple(item['bbox']), rest)
                    objects.setdefault(item['image_id'], []).append(boxed)
                    if len(item['bbox']) != 4 or None in map(number, item['bbox']):
                        problems.append(f'{where} has the box {item["bbox"]!r:.80}')
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            refuse(f'{path.name} is no list of COCO ({type(error).__name__}: {error})')
            return
        for problem in problems:
            refuse(problem)
        if len(set(names.values())) < len(names):
            refuse(f'{path.name}: a category is listed twice')
        self.ids = self.ids or {name: category for category, name in names.items()}
        folder = self.root / path.stem[len('instances_') :]
        for image, members in objects.items():
            if problem := name_problem(images[image]):
                refuse(f'{path.name}: {images[image]!r:.80} {problem}')
                continue
            file = folder / images[image]
            if not file.is_file():
                refuse(f'{folder.name}/{images[image]} is missing')
            announced = sizes[image] if None not in sizes[image] else None
            yield BoxedImage(split, file, tuple(members), announced)


class CocoMasks(Publisher):
    """Draws the masks of what :class:`CocoFolder` reads; smaller objects lie on larger ones.

    See :class:`Publisher`; an object without a mask is a problem.
    """

    def __init__(self, root: str | Path) -> None:
        super().__init__(root)
        source = CocoFolder(root)
        self._boxed = source.images()
        self.classes = list(source.ids)

    def _images(self, refuse: Callable[[str], object]) -> Iterator[MappedImage]:
        for image in self._boxed:
            if any(not each.rest.get('segmentation') for each in image.objects):
                refuse(f'{image.path.name}: an object has no segmentation')
            read = partial(draw_map, objects=image.objects, classes=self.classes)
            yield MappedImage(image.split, image.path, image.path, read)


def draw_map(path: Path, objects: Sequence[BoxedObject], classes: Sequence[str]) -> np.ndarray:
    """Classes of the topmost object, by ``segmentation``, at each pixel of an image."""
    with Image.open(path) as opened:
        width, height = opened.size
    values = np.full((height, width), NONE, np.int16)
    for each in sorted(objects, key=lambda item: -item.box[2] * item.box[3]):
        shape = each.rest['segmentation']
        if problem := mask_problem(shape, width, height):
            raise ValueError(f'the mask of a {each.class_name} {problem}')
        if isinstance(shape, list):
            shape = masks.merge(masks.frPyObjects(shape, height, width))
        elif isinstance(shape['counts'], list):
            shape = masks.frPyObjects(shape, height, width)
        values[masks.decode(shape).astype(bool)] = classes.index(each.class_name)
    return values


_BORDER = 255


class CocoStuff(Publisher):
    """Reads ``stuffthingmaps/{train,val}2017``, ``{train,val}2017`` and ``labels.txt``.

    ``labels.txt`` is the publisher's list, ``1: person`` and so on; a map has that number less one.
    See :class:`Publisher`.
    """

    def __init__(self, root: str | Path) -> None:
        super().__init__(root)
        try:
            lines = read_lines(self.root / 'labels.txt')
        except FileError as error:
            fix = "put the labels.txt of COCO-Stuff's repository beside stuffthingmaps"
            problem = f'labels.txt cannot be read ({error}). Fix: {fix}'
            raise SourceError(self.root, [problem]) from error
        found = (re.fullmatch(r'(\d+)[:\s]\s*(\S.*)', line) for line in lines)
        rows = [row.groups() for row in found if row]
        names = {int(number) - 1: name for number, name in rows if int(number) > 0}
        if not names:
            raise SourceError(self.root, ['labels.txt has no line like "1: person"'])
        self.classes = list(dict.fromkeys(names[number] for number in sorted(names)))
        self._table = np.full(256, NONE, np.int16)
        for label, name in names.items():
            self._table[label] = self.classes.index(name)

    def _images(self, refuse: Callable[[str], object]) -> Iterator[MappedImage]:
        read = partial(read_stuff_map, table=self._table)
        for split in ('train', 'val'):
            paths = sorted((self.root / 'stuffthingmaps' / f'{split}2017').glob('*.png'))
            if not paths:
                refuse(f'stuffthingmaps/{split}2017 has no maps')
            for path in paths:
                file = self.root / f'{split}2017' / f'{path.stem}.jpg'
                if not file.is_file():
                    refuse(f'{split}2017/{file.name} is missing')
                yield MappedImage(split, file, path, read)


def read_stuff_map(path: Path, table: np.ndarray) -> np.ndarray:
    """Classes by number; 255 is none."""
    values = read_pixels(path)
    if values.ndim != 2 or (table[values[values != _BORDER]] == NONE).any():
        raise ValueError(f'{path.name} is no map of COCO-Stuff: it has numbers without a label')
    return table[values]
