"""The benchmark of ADE20K with 150 classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from knowswap_mm.datasets.publishers.mapped_picture import MappedPicture, positions
from knowswap_mm.datasets.publishers.picture import SourceError

SPLITS = dict(training='train', validation='val')


class Ade20k:
    """Reads ``ADEChallengeData2016``: ``{images,annotations}/{training,validation}``.

    Classes are named as in mmseg; 0 in a map is no class.

    Args:
        root (str | Path): The folder with ``images`` and ``annotations``.

    Raises:
        SourceError: If there are no pictures, or one has no map.
    """

    def __init__(self, root: str | Path) -> None:
        from mmseg.utils import get_classes

        self.root = Path(root)
        self.classes = list(dict.fromkeys(name.strip() for name in get_classes('ade20k')))

    def pictures(self) -> list[MappedPicture]:
        """All pictures, by split and name."""
        found, problems = [], []
        for folder, split in SPLITS.items():
            paths = sorted((self.root / 'images' / folder).glob('*.jpg'))
            if not paths:
                fix = 'give the folder that the unpacked archive made (--source)'
                problems.append(f'images/{folder} has no pictures. Fix: {fix}')
            for path in paths:
                labels = self.root / 'annotations' / folder / f'{path.stem}.png'
                if not labels.is_file():
                    problems.append(f'annotations/{folder}/{labels.name} is missing')
                found.append(MappedPicture(split, path, labels, read_ade_map))
        if problems:
            raise SourceError(self.root, problems)
        return found


def read_ade_map(path: Path) -> np.ndarray:
    """Classes from 0; 0 in the file is none."""
    with Image.open(path) as opened:
        values = np.asarray(opened)
    if values.ndim != 2 or values.max() > 150:
        raise ValueError(f'{path.name} is no map of the ADE20K benchmark: ids go from 0 to 150')
    return positions(values, values > 0, shift=-1)
