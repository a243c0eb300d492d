"""A COCO annotation file, read and checked."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from knowswap_mm.datasets.coco_mask import mask_problem
from knowswap_mm.datasets.picture_name import name_problem
from knowswap_mm.errors import ConfigError, FileError
from knowswap_mm.json_file import read_json
from knowswap_mm.limits import ANNOTATION_BYTES, PIXELS, limit_of


class CocoJson:
    """Pictures, categories and boxes of a COCO instances file.

    Boxes are clipped to their picture; those with less than a pixel left are dropped and counted.

    Args:
        path (str | Path): The json file.
        key (str): Config key of the file, for messages.

    Attributes:
        images (list[dict]): The entries under ``images``.
        categories (dict[int, str]): Name by category id.
        objects (dict[int, list[dict]]): Annotations by picture id.
        outside (int): Number of dropped boxes.

    Raises:
        ConfigError: If the file is missing, broken, or refers to something that it does not hold.
    """

    def __init__(self, path: str | Path, key: str) -> None:
        self.path, self.key = Path(path), key
        content = self._read()
        for part in ('images', 'annotations', 'categories'):
            if not isinstance(content.get(part), list):
                self._refuse(f'has no list {part!r}', 'use a COCO instances file')
        self.images: list[dict[str, Any]] = content['images']
        self.categories = {self._id(c): str(c.get('name')) for c in content['categories']}
        if len(set(self.categories.values())) < len(content['categories']):
            self._refuse('has two categories of one name or id', 'name every category once')
        self.objects: dict[int, list[dict[str, Any]]] = {}
        for image in self.images:
            self._check_image(image)
            if image['id'] in self.objects:
                self._refuse(f'has two pictures with id {image["id"]}', 'number them anew')
            self.objects[image['id']] = []
        sizes = {image['id']: (image['width'], image['height']) for image in self.images}
        self.outside = 0
        for item in content['annotations']:
            self._add(item, sizes)

    def _read(self) -> dict[str, Any]:
        if not os.path.isfile(self.path):
            fix = 'give the path of a COCO instances json (relative to data_root)'
            raise ConfigError(self.key, str(self.path), 'no such file', fix)
        try:
            content = read_json(self.path, ANNOTATION_BYTES)
        except FileError as error:
            self._refuse(error.problem, error.fix)
        if not isinstance(content, dict):
            self._refuse('holds no object', 'use a COCO instances file')
        return content

    def _refuse(self, problem: str, fix: str) -> None:
        raise ConfigError(self.key, str(self.path), f'the file {problem}', fix)

    def _id(self, item: Any) -> int:
        number = item.get('id') if isinstance(item, dict) else None
        if type(number) is not int:
            self._refuse(f'has an entry without a whole number as id: {item!r:.80}', 'mend it')
        return number

    def _check_image(self, image: dict[str, Any]) -> None:
        self._id(image)
        sizes = (image.get('width'), image.get('height'))
        named = isinstance(image.get('file_name'), str)
        if not named or not all(type(size) is int and size > 0 for size in sizes):
            problem = f'has a picture without file_name, width or height: id {image["id"]}'
            self._refuse(problem, 'add them')
        if problem := name_problem(image['file_name']):
            fix = 'give the folder of the pictures in data_prefix.img, and names within it'
            self._refuse(f'has a file_name that {problem}: {image["file_name"]!r:.80}', fix)
        if sizes[0] * sizes[1] > (most := limit_of(PIXELS)):
            problem = f'has a picture of {sizes[0]} x {sizes[1]}, more than {most} pixels: id '
            self._refuse(f'{problem}{image["id"]}', f'mend it, or set {PIXELS}')

    def _add(self, item: dict[str, Any], sizes: dict[int, tuple[int, int]]) -> None:
        number = self._id(item)
        for field, known, part in (
            ('category_id', self.categories, 'categories'),
            ('image_id', sizes, 'images'),
        ):
            # True is 1 and 1.0 is 1 for a dict; a list cannot even be looked up.
            if type(item.get(field)) is not int or item[field] not in known:
                problem = f'has no {field} {item.get(field)!r:.80}, which annotation {number} names'
                self._refuse(problem, f'add it under {part}, or remove the annotation')
        box = item.get('bbox')
        numbers = isinstance(box, list) and len(box) == 4
        if not numbers or not all(_is_finite(value) for value in box):
            self._refuse(f'has an annotation {number} without a box: {box!r:.80}', 'mend it')
        width, height = sizes[item['image_id']]
        fix = 'mend it, or remove the field segmentation, which boxes do not need'
        if problem := mask_problem(item.get('segmentation'), width, height):
            self._refuse(f'has an annotation {number} whose segmentation {problem}', fix)
        left, top = max(box[0], 0), max(box[1], 0)
        right, bottom = min(box[0] + box[2], width), min(box[1] + box[3], height)
        if right - left < 1 or bottom - top < 1:
            self.outside += 1
            return
        clipped = [left, top, right - left, bottom - top]
        area = item.get('area')
        if not _is_finite(area) or area <= 0:
            area = clipped[2] * clipped[3]
        self.objects[item['image_id']].append(dict(item, bbox=clipped, area=area))


def _is_finite(value: Any) -> bool:
    if type(value) is int:
        return abs(value) < 2**53  # beyond, a float cannot hold it
    return type(value) is float and math.isfinite(value)
