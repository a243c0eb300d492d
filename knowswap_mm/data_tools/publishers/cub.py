"""CUB-200-2011 with its boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from knowswap_mm.data_tools.images import (
    BoxedImage,
    BoxedObject,
    Publisher,
    SourceImage,
    read_table,
)


class Cub(Publisher):
    """Reads ``CUB_200_2011`` as it is unpacked; its test split becomes ``val``.

    Classes are named as its folders are, ``001.Black_footed_Albatross``. See :class:`Publisher`.
    """

    def _images(self, refuse: Callable[[str], object]) -> Iterator[SourceImage]:
        tables = {
            name: dict(row[:2] for row in read_table(self.root / f'{name}.txt', self.root, 2))
            for name in ('images', 'image_class_labels', 'train_test_split', 'classes')
        }
        for number, name in tables['images'].items():
            label = tables['image_class_labels'].get(number)
            class_name = tables['classes'].get(label)
            path = self.root / 'images' / name
            split = {'1': 'train', '0': 'val'}.get(tables['train_test_split'].get(number, ''))
            if class_name is None:
                refuse(f'image {number} ({name}) has no class')
            elif split is None:
                refuse(f'image {number} ({name}) has no split')
            elif not path.is_file():
                refuse(f'image {number}: images/{name} is missing')
            else:
                yield SourceImage(split, class_name, path)


class CubBoxes(Publisher):
    """Reads ``bounding_boxes.txt`` beside what :class:`Cub` reads; one box an image.

    See :class:`Publisher`.
    """

    def _images(self, refuse: Callable[[str], object]) -> Iterator[BoxedImage]:
        images = Cub(self.root).images()
        numbers = {row[1]: row[0] for row in read_table(self.root / 'images.txt', self.root, 2)}
        rows = read_table(self.root / 'bounding_boxes.txt', self.root, 5)
        boxes = {row[0]: row[1:5] for row in rows}
        for image in images:
            name = image.path.relative_to(self.root / 'images').as_posix()
            try:
                x, y, width, height = map(float, boxes[numbers[name]])
            except (KeyError, ValueError):
                refuse(f'bounding_boxes.txt: no box for image {numbers[name]} ({name})')
                continue
            box = BoxedObject(image.class_name, (x, y, width, height))
            yield BoxedImage(image.split, image.path, (box,))
