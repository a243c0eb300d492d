"""A COCO annotation file, read, made uniform and checked."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from knowswap_mm.datasets.coco_values import (
    ValueProblem,
    box_of,
    flag,
    identifier,
    mask_box,
    mask_problem,
    number,
    usable_mask,
    whole,
)
from knowswap_mm.datasets.images import name_problem
from knowswap_mm.errors import ConfigError, FileError
from knowswap_mm.io.text_files import ANNOTATION_BYTES, PIXELS, limit_of, read_json

OUTSIDE = 'boxes outside their images or below one pixel'
UNLISTED = 'annotations of images that the file does not list'
TWICE = 'annotations that are listed twice'
#: Only counted if the host loads masks.
MASKLESS = 'objects without a usable mask, which are ignored'


class CocoJson:
    """Images, categories and boxes of a COCO instances file.

    The one place that knows how differently such files are written. Ids and sizes may be integers,
    ``12.0`` or ``'12'``; ids may be any strings. Boxes are clipped to their image; those with
    less than a pixel left are dropped and counted, as are annotations of images that the file
    does not list. A missing box is that of the mask. ``iscrowd`` is always there afterwards, and
    ``ignore`` has become it; ``segmentation`` is there if it can be drawn.

    Args:
        path (str | Path): The json file.
        key (str): Config key of the file, for messages.
        masks (bool): Whether the host loads masks, and so needs one for each object. Objects
            without one are then ignored (crowd), with their box for a mask, and counted.

    Attributes:
        images (list[dict]): The entries under ``images``.
        categories (dict[int | str, str]): Name by category id.
        objects (dict[int | str, list[dict]]): Annotations by image id.
        dropped (Counter): Number of annotations that are not used as they are, by reason.
        partial (bool): Whether not every object is annotated (LVIS and its relatives say so).

    Raises:
        ConfigError: If the file is missing, broken, or refers to something that it does not hold.
    """

    def __init__(self, path: str | Path, key: str, masks: bool = False) -> None:
        self.path, self.key, self.masks = Path(path), key, masks
        content = self._read()
        for part in ('images', 'annotations', 'categories'):
            if not isinstance(content.get(part), list):
                self._refuse(f'has no list {part!r}', 'use a COCO instances file')
        self.dropped: Counter[str] = Counter()
        self.partial = False
        self.images = [self._image(image) for image in content['images']]
        self.categories = self._read_categories(content['categories'])
        self.objects: dict[int | str, list[dict[str, Any]]] = {}
        names: dict[str, Any] = {}
        for image in self.images:
            if image['id'] in self.objects:
                self._refuse(f'has two images with id {image["id"]}', 'number them anew')
            if image['file_name'] in names:
                both = f'{names[image["file_name"]]!r} and {image["id"]!r}'
                problem = f'lists the image {image["file_name"]!r:.80} twice, as {both}'
                fix = 'list it once, with all its annotations: each entry lacks those of the other'
                self._refuse(problem, fix)
            names[image['file_name']] = image['id']
            self.objects[image['id']] = []
        self._sizes = {image['id']: (image['width'], image['height']) for image in self.images}
        #: By box: whether it ends outside of its image, fits as two corners, is at most one.
        self._forms: Counter[str] = Counter()
        self._seen: dict[int | str, dict[str, Any]] = {}
        for place, item in enumerate(content['annotations']):
            self._add(item, place)
        self._check_whole(len(content['annotations']))
        del self._seen

    @property
    def outside(self) -> int:
        """Number of boxes that were dropped."""
        return self.dropped[OUTSIDE]

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

    def _image(self, entry: Any) -> dict[str, Any]:
        if not isinstance(entry, dict):
            self._refuse(f'has an image that is no object: {entry!r:.80}', 'fix it')
        found = identifier(entry.get('id'))
        if found is None:
            self._refuse(f'has an image without an id: {entry!r:.80}', 'give it a number')
        name = entry.get('file_name')
        if name is None and isinstance(entry.get('coco_url'), str):  # LVIS names images so
            name = urlparse(entry['coco_url']).path.lstrip('/')
        if not isinstance(name, str):
            self._refuse(f'has an image without file_name: id {found}', 'add it')
        name = name.replace('\\', '/')  # as exporters on Windows write it
        if problem := name_problem(name):
            fix = 'give the folder of the images in data_prefix.img, and names within it'
            self._refuse(f'has a file_name that {problem}: {name!r:.80}', fix)
        sizes = {part: whole(entry.get(part)) for part in ('width', 'height')}
        for part, size in sizes.items():
            if size is None or size <= 0:
                given = entry.get(part)
                what = f'whose {part} is {given!r:.40}' if part in entry else f'without {part}'
                fix = f'write its {part} in pixels, an integer from 1 on'
                self._refuse(f'has an image {what}: id {found} ({name!r:.80})', fix)
        if sizes['width'] * sizes['height'] > (most := limit_of(PIXELS)):
            size = f'{sizes["width"]} x {sizes["height"]}'
            problem = f'has an image of {size}, more than {most} pixels: id {found}'
            self._refuse(problem, f'fix it, or set {PIXELS}')
        self.partial |= 'neg_category_ids' in entry
        return dict(entry, id=found, file_name=name, **sizes)

    def _read_categories(self, entries: list[Any]) -> dict[int | str, str]:
        found: dict[int | str, str] = {}
        for entry in entries:
            entry = entry if isinstance(entry, dict) else {}
            category, name = identifier(entry.get('id')), entry.get('name')
            if category is None:
                self._refuse(f'has a category without an id: {entry!r:.80}', 'number it')
            if type(name) not in (str, int) or not str(name).strip():
                self._refuse(f'has a category without a name: id {category}', 'name it')
            if category in found or str(name) in found.values():
                problem = f'has two categories of one name or id: {category}, {name!r:.80}'
                self._refuse(problem, 'name every category once')
            found[category] = str(name)
        return found

    def _add(self, item: Any, place: int) -> None:
        if not isinstance(item, dict):
            self._refuse(f'has an annotation that is no object: {item!r:.80}', 'fix it')
        found = identifier(item.get('id'))
        self._where = f'annotation {found}' if found is not None else f'annotation no. {place + 1}'
        if found is not None and (first := self._seen.setdefault(found, item)) is not item:
            if first == item:
                self.dropped[TWICE] += 1
                return
        if 'segments_info' in item:
            fix = "use the data set's instances json; a panoptic one has no boxes of objects"
            self._refuse('is a panoptic json (its annotations have segments_info)', fix)
        category, image = identifier(item.get('category_id')), identifier(item.get('image_id'))
        if category not in self.categories:
            given = item.get('category_id')
            problem = f'has no category_id {given!r:.80}, which {self._where} names'
            self._refuse(problem, 'add it under categories, or remove the annotation')
        if image is None:
            given = item.get('image_id')
            problem = f'has no image_id {given!r:.80}, which {self._where} names'
            self._refuse(problem, 'name an image, or remove the annotation')
        if image not in self._sizes:  # the image was taken out of the list, and they stayed
            self.dropped[UNLISTED] += 1
            return
        try:
            kept = self._uniform(item, *self._sizes[image])
        except ValueProblem as error:
            self._refuse(f'has an {self._where} {error}', error.fix)
        if kept is not None:
            self.objects[image].append(dict(kept, image_id=image, category_id=category))

    def _uniform(self, item: dict[str, Any], width: int, height: int) -> dict[str, Any] | None:
        """The annotation as hosts and metrics read it; None if it has no place in the image."""
        mask = usable_mask(item.get('segmentation'))
        if problem := mask_problem(mask, width, height):
            fix = 'fix it, or remove the field segmentation, which boxes do not need'
            raise ValueProblem(f'whose segmentation {problem}', fix)
        box = box_of(item.get('bbox')) or mask_box(mask)
        if box is None:
            fix = 'write bbox as four finite numbers: x, y, width, height in pixels'
            raise ValueProblem(f'without a box: {item.get("bbox")!r:.80}', fix)
        self._note_form(box, width, height)
        left, top = max(box[0], 0), max(box[1], 0)
        right, bottom = min(box[0] + box[2], width), min(box[1] + box[3], height)
        if right - left < 1 or bottom - top < 1:
            self.dropped[OUTSIDE] += 1
            return None
        clipped = [left, top, right - left, bottom - top]
        area = number(item.get('area'))
        kept = dict(item, bbox=clipped, area=area if area and area > 0 else clipped[2] * clipped[3])
        # mmdet leaves out what has ignore, and its metric does not know it.
        kept['iscrowd'] = int(flag(item.get('iscrowd')) | flag(kept.pop('ignore', None)))
        kept.pop('segmentation', None)
        if mask is not None:
            kept['segmentation'] = mask
        elif self.masks:
            self.dropped[MASKLESS] += 1
            corners = [left, top, right, top, right, bottom, left, bottom]
            kept.update(iscrowd=1, segmentation=[corners])
        return kept

    def _note_form(self, box: list[float], width: int, height: int) -> None:
        x, y, w, h = box
        self._forms['all'] += 1
        self._forms['over'] += x + w > 1.1 * width or y + h > 1.1 * height
        self._forms['corners'] += x < w <= width and y < h <= height
        self._forms['shares'] += min(box) >= 0 and max(box) <= 1 < min(width, height)

    def _check_whole(self, annotations: int) -> None:
        """Refuse files whose boxes mean something else, or of which nothing is left."""
        forms = self._forms
        if forms['all'] > 1 and forms['shares'] == forms['all']:
            fix = 'multiply them by width and height'
            self._refuse('has boxes in shares of the image: no number exceeds 1', fix)
        if forms['over'] > forms['all'] / 2 and forms['corners'] == forms['all']:
            fix = 'write x, y, width, height: width = x2 - x1'
            problem = f'has boxes as two corners: {forms["over"]} of {forms["all"]} end outside of '
            self._refuse(f'{problem}their images, and none does as x1, y1, x2, y2', fix)
        if annotations and self.dropped[UNLISTED] == annotations:
            first = next(iter(self._seen.values()), {}).get('image_id')
            known = next(iter(self._sizes), None)
            problem = f'has no annotation of an image that it lists (image_id {first!r:.40}, ids '
            self._refuse(f'{problem}such as {known!r:.40})', 'use one kind of ids in both lists')
        if (bare := self.dropped[MASKLESS]) and bare == forms['all'] - self.outside:
            fix = 'load boxes alone (with_mask=False), or add the field segmentation'
            self._refuse('has no mask that can be drawn, and the pipeline loads masks', fix)
