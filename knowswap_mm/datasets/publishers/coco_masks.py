"""COCO with maps drawn from its masks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as masks

from knowswap_mm.datasets.coco_mask import mask_problem
from knowswap_mm.datasets.publishers.boxed_picture import BoxedObject
from knowswap_mm.datasets.publishers.coco_folder import CocoFolder
from knowswap_mm.datasets.publishers.mapped_picture import NONE, MappedPicture
from knowswap_mm.datasets.publishers.picture import SourceError


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
        """All pictures with an object, in the order of the lists."""
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
        path (Path): The picture, for its size.
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
