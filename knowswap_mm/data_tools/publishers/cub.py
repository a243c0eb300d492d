"""CUB-200-2011 with its boxes."""

from __future__ import annotations

from pathlib import Path

from knowswap_mm.data_tools.images import (
    BoxedObject,
    BoxedPicture,
    Picture,
    SourceError,
    read_table,
)


class Cub:
    """Reads ``CUB_200_2011`` as it is unpacked; its test split becomes ``val``.

    Classes are named as its folders are, ``001.Black_footed_Albatross``.

    Args:
        root (str | Path): The folder with ``images.txt``.

    Raises:
        SourceError: If a list is missing or names what is not there.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def pictures(self) -> list[Picture]:
        """All images, in the order of their numbers."""
        tables = {
            name: dict(row[:2] for row in read_table(self.root / f'{name}.txt', self.root, 2))
            for name in ('images', 'image_class_labels', 'train_test_split', 'classes')
        }
        found, problems = [], []
        for number, name in tables['images'].items():
            label = tables['image_class_labels'].get(number)
            class_name = tables['classes'].get(label)
            path = self.root / 'images' / name
            split = dict(zip('10', ('train', 'val'), strict=True)).get(
                tables['train_test_split'].get(number, '')
            )
            if class_name is None:
                problems.append(f'image {number} ({name}) has no class')
            elif split is None:
                problems.append(f'image {number} ({name}) has no split')
            elif not path.is_file():
                problems.append(f'image {number}: images/{name} is missing')
            else:
                found.append(Picture(split, class_name, path))
        if problems:
            raise SourceError(self.root, problems)
        return found


class CubBoxes:
    """Reads ``bounding_boxes.txt`` beside what :class:`Cub` reads; one box an image.

    Args:
        root (str | Path): The folder with ``images.txt``.

    Raises:
        SourceError: If a list is missing or names what is not there.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def pictures(self) -> list[BoxedPicture]:
        """All images, in the order of their numbers."""
        pictures = Cub(self.root).pictures()
        numbers = {row[1]: row[0] for row in read_table(self.root / 'images.txt', self.root, 2)}
        rows = read_table(self.root / 'bounding_boxes.txt', self.root, 5)
        boxes = {row[0]: row[1:5] for row in rows}
        found, problems = [], []
        for picture in pictures:
            name = picture.path.relative_to(self.root / 'images').as_posix()
            try:
                x, y, width, height = map(float, boxes[numbers[name]])
            except (KeyError, ValueError):
                problems.append(f'bounding_boxes.txt: no box for image {numbers[name]} ({name})')
                continue
            objects = (BoxedObject(picture.class_name, (x, y, width, height)),)
            found.append(BoxedPicture(picture.split, picture.path, objects))
        if problems:
            raise SourceError(self.root, problems)
        return found
