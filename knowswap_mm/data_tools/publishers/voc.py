"""Pascal VOC: its boxes, and its semantic maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from knowswap_mm.data_tools.images import (
    BoxedImage,
    BoxedObject,
    MappedImage,
    Publisher,
    SourceError,
    positions,
    read_pixels,
    read_table,
)
from knowswap_mm.datasets.images import name_problem
from knowswap_mm.errors import FileError
from knowswap_mm.io.text_files import read_bytes

#: Splits by the names of lists and folders, the first that is there.
_SPLITS = dict(train=('train', 'trainval', 'training'), val=('val', 'valid', 'validation'))
_TEST = 'test'


class VocBoxes(Publisher):
    """Reads boxes from VOC xml, in the publisher's layout or in folders.

    The publisher's: ``Annotations/*.xml``, ``JPEGImages`` and ``ImageSets/Main/<split>.txt``.
    Folders: xml files beside their images, in ``train``, ``val`` and ``test``, or all in one;
    ``Annotations`` may also stand without lists. Without splits a share becomes ``val``; a ``test``
    split without ``val`` is taken for it.

    ``difficult`` objects become crowd, which metrics and training ignore. Corners count pixels from
    1, and belong to the box. Images without an object are left out; an image of another size than
    its xml is a problem. See :class:`Publisher`.
    """

    def __init__(self, root: str | Path, val_share: float = 0.2, seed: int = 0) -> None:
        super().__init__(root, val_share, seed)
        self._files: dict[Path, dict[str, Path]] = {}

    def images(self) -> list[BoxedImage]:
        """All images with an object, by split and name."""
        if found := super().images():
            return found
        fix = 'give the folder with Annotations, or with xml files beside images (--source)'
        raise SourceError(self.root, [f'there is no xml with an object. Fix: {fix}'])

    def _images(self, refuse: Callable[[str], object]) -> Iterator[BoxedImage]:
        for split, path in self._listed():
            try:
                image = self._read(split, path)
            except (ValueError, ElementTree.ParseError, FileError) as error:
                refuse(f'{path.relative_to(self.root)}: {error}')
                continue
            if image.objects:
                yield image

    def _listed(self) -> list[tuple[str, Path]]:
        """Split and xml file of each image."""
        annotations = self.root / 'Annotations'
        lists = next(
            (f for f in (self.root / 'ImageSets' / 'Main', self.root / 'ImageSets') if f.is_dir()),
            None,
        )
        if annotations.is_dir() and lists is not None:
            files = {path.stem: path for path in lists.glob('*.txt')}
            members = partial(_members, annotations)
        else:
            folder = annotations if annotations.is_dir() else self.root
            files = {path.name: path for path in _folders(folder)}
            members = _xml_below
        splits = self._splits(set(files))
        if splits:
            return [(to, path) for name, to in splits.items() for path in members(files[name])]
        whole = annotations if annotations.is_dir() else self.root
        return self._hold_out(list(_xml_below(whole)) if whole.is_dir() else [])

    @staticmethod
    def _splits(names: set[str]) -> dict[str, str]:
        """From the names of lists or folders to splits."""
        chosen = {}
        for split, candidates in _SPLITS.items():
            if name := next((each for each in candidates if each in names), None):
                chosen[name] = split
        if _TEST in names:
            chosen[_TEST] = _TEST if 'val' in chosen.values() else 'val'
        return chosen

    def _hold_out(self, paths: list[Path]) -> list[tuple[str, Path]]:
        held = self._held_out(len(paths), 'voc')
        return sorted(('val' if i in held else 'train', path) for i, path in enumerate(paths))

    def _read(self, split: str, path: Path) -> BoxedImage:
        if not path.is_file():
            raise ValueError('is missing')
        tree = ElementTree.fromstring(read_bytes(path))
        image = self._image_of(path, tree.findtext('filename') or '')
        if image is None:
            raise ValueError(f'there is no image {path.stem}.* for it')
        size = [_whole(tree.findtext(f'size/{name}')) for name in ('width', 'height')]
        try:
            with Image.open(image) as opened:
                stored = list(opened.size)
        except OSError as error:
            raise ValueError(f'{image.name} cannot be read ({error})') from None
        # Some tools write no size, or 0.
        if all(size) and size != stored:
            turned = ', turned by EXIF' if size == stored[::-1] else ''
            raise ValueError(
                f'its size is {size[0]} x {size[1]}, that of {image.name} '
                f'{stored[0]} x {stored[1]}{turned}: boxes would lie elsewhere'
            )
        return BoxedImage(split, image, tuple(_objects(tree)))

    def _image_of(self, path: Path, name: str) -> Path | None:
        """The image of an xml file: of its stem, else of the name in it."""
        known = Image.registered_extensions()
        for folder in (self.root / 'JPEGImages', self.root / 'images', path.parent):
            if folder not in self._files:
                there = sorted(folder.iterdir()) if folder.is_dir() else []
                there = [each for each in there if each.suffix.lower() in known]
                self._files[folder] = {each.stem: each for each in there}
            for stem in (path.stem, Path(name.replace('\\', '/')).stem):
                if found := self._files[folder].get(stem):
                    return found
        return None


def _objects(tree: ElementTree.Element) -> Iterator[BoxedObject]:
    for item in tree.iter('object'):
        name = (item.findtext('name') or '').strip()
        if not name:
            raise ValueError('an object has no name')
        texts = [item.findtext(f'bndbox/{corner}') for corner in ('xmin', 'ymin', 'xmax', 'ymax')]
        try:
            left, top, right, bottom = (float(text) for text in texts)
        except (TypeError, ValueError):
            raise ValueError(f'the box of a {name} is {texts}, no four numbers') from None
        corners = (left, top, right, bottom)
        if 0 <= min(corners) and max(corners) <= 1 and any(each % 1 for each in corners):
            fix = 'multiply them by width and height'
            raise ValueError(f'the box of a {name} is {texts}: shares of the image. Fix: {fix}')
        box = (left - 1, top - 1, right - left + 1, bottom - top + 1)
        if not all(abs(value) < 2**53 for value in box) or min(box[2:]) < 1:
            raise ValueError(f'the box of a {name} is {texts}: it has no extent')
        yield BoxedObject(name, box, dict(iscrowd=_whole(item.findtext('difficult')) or 0))


def _whole(text: str | None) -> int:
    try:
        return int(float(text or 0))
    except (ValueError, OverflowError):
        return 0


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def _xml_below(folder: Path) -> list[Path]:
    return sorted(folder.rglob('*.xml'))


def _members(annotations: Path, path: Path) -> list[Path]:
    """Xml files that a list names; behind a name may stand a flag of the publisher's."""
    lines = path.read_text(encoding='utf-8-sig').splitlines()
    names = [line.split()[0] for line in lines if line.strip()]
    if wrong := [
        f'{path.name}: {name!r:.80} {why}' for name in names if (why := name_problem(name))
    ]:
        raise SourceError(path, wrong)
    return [annotations / f'{name}.xml' for name in names]


_BACKGROUND, _BORDER = 0, 255


class VocMaps(Publisher):
    """Reads ``JPEGImages``, ``SegmentationClass`` and ``ImageSets/Segmentation/{train,val}.txt``.

    Background and borders are no class. The root is the folder of a year, ``VOCdevkit/VOC2012``;
    see :class:`Publisher`.
    """

    classes = (
        'aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike '
        'person pottedplant sheep sofa train tvmonitor'
    ).split()

    def _images(self, refuse: Callable[[str], object]) -> Iterator[MappedImage]:
        for split in ('train', 'val'):
            path = self.root / 'ImageSets' / 'Segmentation' / f'{split}.txt'
            for name, *_ in read_table(path, self.root, 1):
                image = self.root / 'JPEGImages' / f'{name}.jpg'
                labels = self.root / 'SegmentationClass' / f'{name}.png'
                for path in (image, labels):
                    if not path.is_file():
                        refuse(f'{path.relative_to(self.root)} is missing')
                yield MappedImage(split, image, labels, read_voc_map)


def read_voc_map(path: Path) -> np.ndarray:
    """Classes from 0; background (0) and border (255) are none."""
    values = read_pixels(path)
    inside = values != _BORDER
    if values.ndim != 2 or (values[inside] > len(VocMaps.classes)).any():
        raise ValueError(f'{path.name} is no map of VOC: ids go from 0 to 20, and 255')
    return positions(values, inside & (values != _BACKGROUND), shift=-1)
