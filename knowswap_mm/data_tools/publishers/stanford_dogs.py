"""Stanford Dogs with its boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

from knowswap_mm.data_tools.images import BoxedImage, BoxedObject, Publisher, SourceError
from knowswap_mm.data_tools.publishers.class_folders import ClassFolders


class StanfordDogs(Publisher):
    """Reads ``Images/`` and ``Annotation/`` (VOC xml), and the split of ``train_list.mat``.

    Without ``train_list.mat`` a share of each class becomes ``val``. Classes are named as the
    folders are, ``n02085620-Chihuahua``. Images without an object are left out. See
    :class:`Publisher`.
    """

    def _images(self, refuse: Callable[[str], object]) -> Iterator[BoxedImage]:
        images = ClassFolders(self.root / 'Images', self.val_share, self.seed).images()
        training = self._training_list()
        for image in images:
            name = f'{image.class_name}/{image.path.name}'
            split = image.split
            if training is not None:
                split = 'train' if name in training else 'val'
            path = self.root / 'Annotation' / image.class_name / image.path.stem
            try:
                objects = _read_objects(path, image.class_name)
            except (OSError, ElementTree.ParseError, ValueError) as error:
                refuse(f'Annotation/{image.class_name}/{path.name}: {error}')
                continue
            if objects:
                yield BoxedImage(split, image.path, objects)

    def _training_list(self) -> set[str] | None:
        path = self.root / 'train_list.mat'
        if not path.is_file():
            return None
        from scipy.io import loadmat

        try:
            return {str(entry[0][0]) for entry in loadmat(path)['file_list']}
        except Exception as error:  # a damaged file may raise anything
            raise SourceError(self.root, [f'train_list.mat cannot be read ({error})']) from error


def _read_objects(path: Path, class_name: str) -> tuple[BoxedObject, ...]:
    objects = []
    for item in ElementTree.parse(path).getroot().iter('object'):
        box = item.find('bndbox')
        if box is None:
            raise ValueError('an object has no bndbox')
        corners = [box.findtext(name) for name in ('xmin', 'ymin', 'xmax', 'ymax')]
        if None in corners:
            raise ValueError('a bndbox has not four corners')
        left, top, right, bottom = (float(corner) for corner in corners)
        # Corners are pixels that belong to the box, counted from 1.
        box = (left - 1, top - 1, right - left + 1, bottom - top + 1)
        objects.append(BoxedObject(class_name, box))
    return tuple(objects)
