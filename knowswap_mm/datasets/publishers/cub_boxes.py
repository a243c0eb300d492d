"""CUB-200-2011 with its boxes."""

from __future__ import annotations

from pathlib import Path

from knowswap_mm.datasets.publishers.boxed_picture import BoxedObject, BoxedPicture
from knowswap_mm.datasets.publishers.cub import Cub
from knowswap_mm.datasets.publishers.picture import SourceError, read_table


class CubBoxes:
    """Reads ``bounding_boxes.txt`` beside what :class:`Cub` reads; one box a picture.

    Args:
        root (str | Path): The folder with ``images.txt``.

    Raises:
        SourceError: If a list is missing or names what is not there.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def pictures(self) -> list[BoxedPicture]:
        """All pictures, in the order of their numbers."""
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
                problems.append(f'bounding_boxes.txt: no box for picture {numbers[name]} ({name})')
                continue
            objects = (BoxedObject(picture.class_name, (x, y, width, height)),)
            found.append(BoxedPicture(picture.split, picture.path, objects))
        if problems:
            raise SourceError(self.root, problems)
        return found
