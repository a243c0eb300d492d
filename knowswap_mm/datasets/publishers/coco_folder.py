"""COCO with its boxes."""

from __future__ import annotations

import math
import re
from pathlib import Path

from knowswap_mm.datasets.coco_values import whole
from knowswap_mm.datasets.picture_name import name_problem
from knowswap_mm.datasets.publishers.boxed_picture import BoxedObject, BoxedPicture
from knowswap_mm.datasets.publishers.picture import SourceError
from knowswap_mm.json_file import read_json
from knowswap_mm.limits import ANNOTATION_BYTES

_KEPT = ('area', 'iscrowd', 'segmentation')


class CocoFolder:
    """Reads ``annotations/instances_{train,val}<year>.json`` and ``{train,val}<year>/``.

    Boxes below one pixel and pictures without an object are left out, as detectors do.

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
        """All pictures, in the order of the lists."""
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
                    problems.append(f'{where} has picture {item["image_id"]}, which is not')
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
