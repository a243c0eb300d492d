"""Stanford Dogs with its boxes."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from knowswap_mm.data_tools.images import BoxedObject, BoxedPicture, SourceError
from knowswap_mm.data_tools.publishers.class_folders import ClassFolders


class StanfordDogs:
    """Reads ``Images/`` and ``Annotation/`` (VOC xml), and the split of ``train_list.mat``.

    Without ``train_list.mat`` a share of each class becomes ``val``. Classes are named as the
    folders are, ``n02085620-Chihuahua``. Images without an object are left out.

    Args:
        root (str | Path): The folder with ``Images`` and ``Annotation``.
        val_share (float): Share of each class in ``val``, where the list is missing.
        seed (int): Seed of that draw.

    Raises:
        SourceError: If an annotation is missing or damaged.
    """

    def __init__(self, root: str | Path, val_share: float = 0.2, seed: int = 0) -> None:
        self.root, self.val_share, self.seed = Path(root), val_share, seed

    def pictures(self) -> list[BoxedPicture]:
        """All images, by split, class and name."""
        pictures = ClassFolders(self.root / 'Images', self.val_share, self.seed).pictures()
        training = self._training_list()
        found, problems = [], []
        for picture in pictures:
            name = f'{picture.class_name}/{picture.path.name}'
            split = picture.split
            if training is not None:
                split = 'train' if name in training else 'val'
            path = self.root / 'Annotation' / picture.class_name / picture.path.stem
            try:
                objects = _read_objects(path, picture.class_name)
            except (OSError, ElementTree.ParseError, ValueError) as error:
                problems.append(f'Annotation/{picture.class_name}/{path.name}: {error}')
                continue
            if objects:
                found.append(BoxedPicture(split, picture.path, objects))
        if problems:
            raise SourceError(self.root, problems)
        return found

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
