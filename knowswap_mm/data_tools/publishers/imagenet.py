"""ImageNet-1k."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path

from knowswap_mm.data_tools.images import Publisher, SourceError, SourceImage
from knowswap_mm.data_tools.publishers.class_folders import ClassFolders
from knowswap_mm.datasets.images import is_junk
from knowswap_mm.io.text_files import read_text

_KAGGLE = 'LOC_val_solution.csv'
_TRUTH = 'ILSVRC2012_validation_ground_truth.txt'


class ImageNet(Publisher):
    """Reads ``train/<wnid>/`` and ``val/``, with a folder a class or as the publisher ships it.

    A ``val`` without folders needs, in the same folder or below, the publisher's
    ``ILSVRC2012_validation_ground_truth.txt`` with ``meta.mat``, or Kaggle's
    ``LOC_val_solution.csv``. See :class:`Publisher`.
    """

    def _images(self, refuse: Callable[[str], object]) -> Iterator[SourceImage]:
        lost = [name for name in ('train', 'val') if not (self.root / name).is_dir()]
        if lost:
            fix = 'give the folder that holds train/ and val/ (--source)'
            raise SourceError(self.root, [f'{name}/ is missing. Fix: {fix}' for name in lost])
        found = ClassFolders(self.root).images()
        yield from found
        if any(image.split == 'val' for image in found):
            return
        flat = sorted(
            path
            for path in (self.root / 'val').iterdir()
            if path.is_file() and not is_junk(path.name)
        )
        classes = self._truth(flat)
        if not flat:
            refuse('val/ is empty')
        for path in flat:
            if path.stem not in classes:
                refuse(f'val/{path.name} has no class')
            else:
                yield SourceImage('val', classes[path.stem], path)

    def _truth(self, flat: list[Path]) -> dict[str, str]:
        """The class of each validation image by its name."""
        lists = {path.name: path for path in self.root.glob('*')} | {
            path.name: path for path in self.root.glob('ILSVRC2012_devkit*/data/*')
        }
        try:
            if _KAGGLE in lists:
                rows = csv.DictReader(io.StringIO(read_text(lists[_KAGGLE]), newline=''))
                return {row['ImageId']: row['PredictionString'].split()[0] for row in rows}
            if _TRUTH in lists and 'meta.mat' in lists:
                from scipy.io import loadmat

                synsets = loadmat(lists['meta.mat'], squeeze_me=True)['synsets']
                wnids = {int(row['ILSVRC2012_ID']): str(row['WNID']) for row in synsets}
                numbers = read_text(lists[_TRUTH]).split()
                names = [wnids[int(number)] for number in numbers]
                return {path.stem: name for path, name in zip(flat, names, strict=True)}
        except Exception as error:  # a damaged list may raise anything
            text = f'the list of val/ cannot be read ({type(error).__name__}: {error})'
            raise SourceError(self.root, [text]) from error
        fix = f'put {_TRUTH} and meta.mat, or {_KAGGLE}, beside val/'
        raise SourceError(self.root, [f'val/ has no folder a class, and no list. Fix: {fix}'])
