"""Images as publishers ship them: with a class, with boxes or with a semantic map."""

from __future__ import annotations

import re
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from knowswap_mm.datasets.seeding import derive_seed
from knowswap_mm.errors import FileError, SwapError
from knowswap_mm.io.text_files import ANNOTATION_BYTES, read_lines


class SourceError(SwapError):
    """A downloaded data set is not what it should be; names every problem."""

    def __init__(self, root: Path, problems: Iterable[str]) -> None:
        self.root, self.problems = root, list(problems)
        shown = '\n'.join(f'  {problem}' for problem in self.problems[:20])
        more = f'\n  ... and {len(self.problems) - 20} more' if len(self.problems) > 20 else ''
        super().__init__(f'{root}: {len(self.problems)} problems\n{shown}{more}')


#: What to do about a folder without what a publisher puts there.
GIVE_FOLDER = 'give the folder that the unpacked archive made (--source)'


class Publisher(metaclass=ABCMeta):
    """A data set in the layout of its publisher.

    Args:
        root (str | Path): The unpacked folder.
        val_share (float): Share of the images in ``val``, where the publisher has no splits.
        seed (int): Seed of that draw.

    Attributes:
        classes (Sequence[str]): All classes, where the images have semantic maps.

    Raises:
        SourceError: If a file is missing or damaged, or names what is not there.
    """

    classes: Sequence[str]

    def __init__(self, root: str | Path, val_share: float = 0.2, seed: int = 0) -> None:
        self.root, self.val_share, self.seed = Path(root), val_share, seed

    def images(self) -> list[Any]:
        """All images, in the order of the publisher's lists, else by split, class and name."""
        problems: list[str] = []
        found = list(self._images(problems.append))
        if problems:
            raise SourceError(self.root, problems)
        return found

    @abstractmethod
    def _images(self, refuse: Callable[[str], object]) -> Iterator[Any]:
        """Find the images, and call ``refuse`` with every problem."""

    def _held_out(self, count: int, name: str) -> set[int]:
        """Positions, of so many, that become ``val``; ``name`` keeps draws apart."""
        order = np.random.default_rng(derive_seed('hold out', self.seed, name)).permutation(count)
        return set(order[: round(count * self.val_share)].tolist())


@dataclass(frozen=True)
class SourceImage:
    """An image of one class.

    Attributes:
        split (str): ``train``, ``val`` or ``test``.
        class_name (str): Its class; also the name of its folder.
        path (Path): The file.
        name (str): Its name in the tree that is written; that of the file by default.
    """

    split: str
    class_name: str
    path: Path
    name: str = ''

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class, as for images with several."""
        return (self.class_name,)


def read_table(path: Path, root: Path, columns: int) -> list[list[str]]:
    """Read a text file with columns set apart by spaces; lines that begin with # do not count.

    Raises:
        SourceError: If the file is missing, empty, or a line has fewer columns.
    """
    try:
        lines = read_lines(path, ANNOTATION_BYTES)
    except FileError as error:
        problem = f'{path.name} cannot be read ({error}). Fix: {GIVE_FOLDER}'
        raise SourceError(root, [problem]) from error
    rows = [re.split(r'\s+', line) for line in lines if line[0] != '#']
    problems = [f'{path.name}: a line has too few columns: {r}' for r in rows if len(r) < columns]
    if not rows:
        problems = [f'{path.name} is empty']
    if problems:
        raise SourceError(root, problems)
    return rows


Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class BoxedObject:
    """An object.

    Attributes:
        class_name (str): Its class.
        box (Box): x, y, width, height in pixels of the stored image.
        rest (Mapping[str, Any]): What else COCO json says of it: ``iscrowd``, ``segmentation``, ...
    """

    class_name: str
    box: Box
    rest: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BoxedImage:
    """An image and its objects.

    Attributes:
        split (str): ``train`` or ``val``.
        path (Path): The file.
        objects (tuple[BoxedObject, ...]): One or more.
        announced (tuple[int, int] | None): Width and height that the annotations name, if they do.
        name (str): Its name in the tree that is written; that of the file by default.
    """

    split: str
    path: Path
    objects: tuple[BoxedObject, ...]
    announced: tuple[int, int] | None = None
    name: str = ''

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes in it."""
        return tuple(dict.fromkeys(each.class_name for each in self.objects))


#: Where no class is. As a position in a table it is the last entry.
NONE = -1


@dataclass(frozen=True)
class MappedImage:
    """An image and how to read its map.

    Attributes:
        split (str): ``train``, ``val`` or ``test``.
        path (Path): The image.
        map_path (Path): The publisher's map, whose name the map written gets, with ``.png``.
        read (Callable[[Path], np.ndarray]): Gives the class of every pixel, int16 ``(H, W)``, by
            its position among the publisher's classes; -1 where no class is. Raises ValueError for
            a map that is not the publisher's.
        class_names (tuple[str, ...]): Classes in it, once the map was read.
        name (str): Name of the image in the tree that is written; that of the file by default.
    """

    split: str
    path: Path
    map_path: Path
    read: Callable[[Path], np.ndarray]
    class_names: tuple[str, ...] = ()
    name: str = ''


def positions(values: np.ndarray, where: np.ndarray, shift: int = 0) -> np.ndarray:
    """Classes as :class:`MappedImage` wants them: ``values + shift`` where there is one."""
    return np.where(where, values.astype(np.int16) + shift, np.int16(NONE))


def read_pixels(path: Path) -> np.ndarray:
    """Read a file of a map as it is stored, ``(H, W)`` or ``(H, W, channels)``."""
    with Image.open(path) as opened:
        return np.asarray(opened)
