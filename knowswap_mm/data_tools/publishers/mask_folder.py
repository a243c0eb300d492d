"""Images and masks in folders, with a list of the classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from knowswap_mm.data_tools.images import (
    MappedImage,
    Publisher,
    SourceError,
    positions,
    read_pixels,
)
from knowswap_mm.data_tools.publishers.coco_file import SPLIT_WORDS
from knowswap_mm.datasets.images import is_image_name
from knowswap_mm.errors import FileError
from knowswap_mm.io.text_files import read_lines

IMAGES = ('images', 'image', 'imgs', 'img', 'JPEGImages')
MAPS = ('annotations', 'masks', 'mask', 'labels', 'semantic', 'SegmentationClass')
LISTS = ('classes.txt', 'labels.txt', 'class_names.txt')
_BORDER = 255
_JPEG = ('.jpg', '.jpeg', '.jpe', '.jfif')


class MaskFolder(Publisher):
    """Reads ``images`` and ``annotations`` (or ``masks``, ``labels``) with ``classes.txt``.

    ``train``, ``val`` and ``test`` may lie above or below these two folders; without them a share
    of the images becomes ``val``. A mask is named as its image, and holds a number a pixel (grey or
    palette): the position of the class in the list. 255 is no class. Where the numbers go up to
    that of the classes itself, they count from 1 and 0 is no class. See :class:`Publisher`.
    """

    def __init__(self, root: str | Path, val_share: float = 0.2, seed: int = 0) -> None:
        super().__init__(root, val_share, seed)
        listed = next((p for name in LISTS if (p := self.root / name).is_file()), None)
        if listed is None:
            fix = 'write the names of the classes into it, one a line, in the order of the numbers'
            raise SourceError(self.root, [f'there is no {LISTS[0]}. Fix: {fix}'])
        try:
            self.classes = read_lines(listed)
        except FileError as error:
            raise SourceError(self.root, [f'{listed.name} {error.problem}']) from error

    def _images(self, refuse: Callable[[str], object]) -> Iterator[MappedImage]:
        pairs = list(self._pairs(refuse))
        if not pairs:
            fix = f'there must be folders {IMAGES[0]} and {MAPS[0]} (or masks, labels)'
            refuse(f'no image with a mask. Fix: {fix}')
        with ThreadPoolExecutor(8) as pool:
            largest = list(pool.map(lambda pair: _largest(pair[2]), pairs))
        count = len(self.classes)
        for (_, _, path), found in zip(pairs, largest, strict=True):
            if isinstance(found, str):
                refuse(f'{path.name} {found}')
            elif found > count:
                refuse(f'{path.name} has the number {found}, and there are {count} classes')
        numbers = [found for found in largest if isinstance(found, int)]
        read = partial(read_mask, first=1 if max(numbers, default=0) == count else 0)
        jpeg = all(image.suffix.lower() in _JPEG for _, image, _ in pairs)
        for split, image, path in pairs:
            # The host's data set reads images of one ending.
            name = f'{image.stem}{".jpg" if jpeg else ".png"}'
            yield MappedImage(split, image, path, read, name=name)

    def _pairs(self, refuse: Callable[[str], object]) -> Iterator[tuple[str, Path, Path]]:
        found = []
        for split, images, maps in mask_folders(self.root):
            by_stem = {p.stem: p for p in sorted(maps.iterdir()) if is_image_name(p.name)}
            for image in sorted(images.iterdir()):
                if not is_image_name(image.name):
                    continue
                if image.stem not in by_stem:
                    refuse(f'{image.name} has no mask {image.stem}.png in {maps.name}')
                    continue
                found.append((split, image, by_stem[image.stem]))
        if {split for split, _, _ in found} == {'train'}:
            held = self._held_out(len(found), 'masks')
            found = [('val' if i in held else 'train', *p[1:]) for i, p in enumerate(found)]
        yield from found


def mask_folders(root: Path) -> list[tuple[str, Path, Path]]:
    """Split, folder of images and folder of masks; without splits all is ``train``."""
    found = []
    for split, words in SPLIT_WORDS.items():
        for word in words:
            pairs = [(root / word / i, root / word / m) for i in IMAGES for m in MAPS]
            pairs += [(root / i / word, root / m / word) for i in IMAGES for m in MAPS]
            there = [(split, *pair) for pair in pairs if all(each.is_dir() for each in pair)]
            found += there[:1]
    whole = [('train', root / i, root / m) for i in IMAGES for m in MAPS]
    return found or [pair for pair in whole if pair[1].is_dir() and pair[2].is_dir()][:1]


def _largest(path: Path) -> int | str:
    """The largest number in a mask but for 255; a problem if it is no mask."""
    try:
        values = read_pixels(path)
    except Exception as error:  # a damaged file may raise anything
        return f'cannot be read ({error})'
    if values.ndim != 2:
        return 'has colours. Fix: save the number of its class a pixel instead (grey or palette)'
    inside = values[values != _BORDER]
    return int(inside.max()) if inside.size else 0


def read_mask(path: Path, first: int) -> np.ndarray:
    """Classes by number; ``first`` is that of the first class, what is below or 255 is none."""
    values = read_pixels(path).astype(np.int16)
    return positions(values, (values != _BORDER) & (values >= first), shift=-first)
