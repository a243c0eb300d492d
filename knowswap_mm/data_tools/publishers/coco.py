"""COCO with the maps of COCO-Stuff."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as masks

from knowswap_mm.data_tools.images import (
    NONE,
    BoxedObject,
    BoxedPicture,
    MappedPicture,
    SourceError,
)
from knowswap_mm.datasets.coco_values import mask_problem, whole
from knowswap_mm.datasets.images import name_problem
from knowswap_mm.errors import FileError
from knowswap_mm.io.text_files import ANNOTATION_BYTES, read_json, read_lines

_KEPT = ('area', 'iscrowd', 'segmentation')


class CocoFolder:
    """Reads ``annotations/instances_{train,val}<year>.json`` and ``{train,val}<year>/``.

    Boxes below one pixel and images without an object are left out, as detectors do.

    Args:
        root (str | Path): The folder with ``annotations``.

    Raises:
        SourceError: If a list is missing or damaged, or names what is not there.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        #: Category ids by name, in the order of the file.
        self.ids: dict[str, int] = {}

    def pictures(self) -> list[BoxedPicture]:
        """All images, in the order of the lists."""
        found, problems = [], []
        for path in self.lists():
            split = re.match(r'instances_(train|val)', path.name)[1]
            pictures, wrong = self._read(path, split)
            found += pictures
            problems += wrong
        if problems:
            raise SourceError(self.root, problems)
        return found

    def lists(self) -> list[Path]:
        """The json files."""
        paths = sorted((self.root / 'annotations').glob('instances_*.json'))
        paths = [p for p in paths if re.fullmatch(r'instances_(train|val)(20\d\d)?\.json', p.name)]
        splits = [path.name[len('instances_') :][:3] for path in paths]
        if sorted(splits) != ['tra', 'val']:
            names = [path.name for path in paths]
            fix = 'there must be one of train and one of val, e.g. instances_train2017.json'
            raise SourceError(self.root, [f'annotations/ has the lists {names}. Fix: {fix}'])
        return paths

    def _read(self, path: Path, split: str) -> tuple[list[BoxedPicture], list[str]]:
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
                    if len(item['bbox']) != 4 or not all(map(_is_finite, item['bbox'])):
                        problems.append(f'{where} has the box {item["bbox"]!r:.80}')
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            text = f'{path.name} is no list of COCO ({type(error).__name__}: {error})'
            return [], [text]
        if len(set(names.values())) < len(names):
            problems.append(f'{path.name}: a category is listed twice')
        self.ids = self.ids or {name: number for number, name in names.items()}
        folder = self.root / path.stem[len('instances_') :]
        found = []
        for number, members in objects.items():
            if problem := name_problem(images[number]):
                problems.append(f'{path.name}: {images[number]!r:.80} {problem}')
                continue
            picture = folder / images[number]
            if not picture.is_file():
                problems.append(f'{folder.name}/{images[number]} is missing')
            announced = sizes[number] if None not in sizes[number] else None
            found.append(BoxedPicture(split, picture, tuple(members), announced))
        return found, problems


def _is_finite(number: float) -> bool:
    return abs(number) < 2**53 and math.isfinite(number)


class CocoMasks:
    """Draws the masks of what :class:`CocoFolder` reads; smaller objects lie on larger ones.

    Args:
        root (str | Path): The folder with ``annotations``.

    Raises:
        SourceError: If a list is damaged, or an object has no mask.
    """

    def __init__(self, root: str | Path) -> None:
        source = CocoFolder(root)
        self._boxed = source.pictures()
        self.root, self.classes = source.root, list(source.ids)

    def pictures(self) -> list[MappedPicture]:
        """All images with an object, in the order of the lists."""
        if bare := [
            f'{p.path.name}: an object has no segmentation'
            for p in self._boxed
            if any(not each.rest.get('segmentation') for each in p.objects)
        ]:
            raise SourceError(self.root, bare)
        return [
            MappedPicture(
                p.split, p.path, p.path, partial(draw_map, objects=p.objects, classes=self.classes)
            )
            for p in self._boxed
        ]


def draw_map(path: Path, objects: Sequence[BoxedObject], classes: Sequence[str]) -> np.ndarray:
    """Classes of the topmost object at each pixel.

    Args:
        path (Path): The image, for its size.
        objects (Sequence[BoxedObject]): Its objects, with ``segmentation`` (polygons or RLE).
        classes (Sequence[str]): Names in the order of their numbers.
    """
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


class CocoStuff:
    """Reads ``stuffthingmaps/{train,val}2017``, ``{train,val}2017`` and ``labels.txt``.

    ``labels.txt`` is the publisher's list, ``1: person`` and so on; a map has that number less one.

    Args:
        root (str | Path): The folder with ``stuffthingmaps``.

    Raises:
        SourceError: If the list or the images are missing, or one has no map.
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
        """All images, by split and name."""
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
