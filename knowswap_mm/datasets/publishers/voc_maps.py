"""Pascal VOC with its semantic maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from knowswap_mm.datasets.publishers.mapped_picture import MappedPicture, positions
from knowswap_mm.datasets.publishers.picture import SourceError, read_table

_BACKGROUND, _BORDER = 0, 255


class VocMaps:
    """Reads ``JPEGImages``, ``SegmentationClass`` and ``ImageSets/Segmentation/{train,val}.txt``.

    Background and borders are no class.

    Args:
        root (str | Path): The folder of a year, ``VOCdevkit/VOC2012``.

    Raises:
        SourceError: If a list is missing or names what is not there.
    """

    classes = (
        'aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike '
        'person pottedplant sheep sofa train tvmonitor'
    ).split()

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def pictures(self) -> list[MappedPicture]:
        """All pictures, in the order of the lists."""
        found, problems = [], []
        for split in ('train', 'val'):
            path = self.root / 'ImageSets' / 'Segmentation' / f'{split}.txt'
            for name, *_ in read_table(path, self.root, 1):
                picture = self.root / 'JPEGImages' / f'{name}.jpg'
                labels = self.root / 'SegmentationClass' / f'{name}.png'
                missing = [p for p in (picture, labels) if not p.is_file()]
                problems += [f'{p.relative_to(self.root)} is missing' for p in missing]
                found.append(MappedPicture(split, picture, labels, read_voc_map))
        if problems:
            raise SourceError(self.root, problems)
        return found


def read_voc_map(path: Path) -> np.ndarray:
    """Classes from 0; background (0) and border (255) are none."""
    with Image.open(path) as opened:
        values = np.asarray(opened)
    inside = values != _BORDER
    if values.ndim != 2 or (values[inside] > len(VocMaps.classes)).any():
        raise ValueError(f'{path.name} is no map of VOC: ids go from 0 to 20, and 255')
    return positions(values, inside & (values != _BACKGROUND), shift=-1)
