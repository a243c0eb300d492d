"""What a task says of one's own data: how it is recognised, written, trained and measured."""

from __future__ import annotations

import os
from abc import ABCMeta, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from knowswap_mm.data_tools.images import Publisher, SourceError
from knowswap_mm.datasets.classes import composed
from knowswap_mm.datasets.images import is_image_name, is_junk
from knowswap_mm.datasets.seeding import derive_seed
from knowswap_mm.errors import ConfigError
from knowswap_mm.roles import ROLES

#: Share of the images of each class that tests, where the data has no split for it.
TEST_SHARE = 0.2


@dataclass(frozen=True)
class Format:
    """A form that data may have.

    Attributes:
        name (str): As messages call it.
        fits (Callable[[Path], bool]): Whether a file or folder has it, by names alone.
        reader (Callable[..., Publisher]): What reads it, given the path and ``val_share``.
    """

    name: str
    fits: Callable[[Path], bool]
    reader: Callable[..., Publisher]


@dataclass(frozen=True)
class OwnData:
    """Data that was recognised and listed.

    Attributes:
        root (Path): The folder that all images lie in.
        images (list): Images of :mod:`knowswap_mm.data_tools.images`, in ``train`` and ``test``.
        classes (list[str]): Names, in the order of the data.
        told (str): What it is, and what tests, in one line.
        known (list[str]): All classes that its reader numbers, where it reads maps.
    """

    root: Path
    images: list[Any]
    classes: list[str]
    told: str
    known: list[str] = field(default_factory=list)

    def of_classes(self, names: Sequence[str]) -> OwnData:
        """The images with one of these classes, whatever form of Unicode their names have."""
        kept = {composed(name) for name in names}
        chosen = [i for i in self.images if kept & {composed(name) for name in i.class_names}]
        return replace(self, images=chosen)


class OwnTask(metaclass=ABCMeta):
    """A task. Subclasses are the only place that knows it.

    Attributes:
        scope (str): Its host library.
        noun (str): What a model of the task is called.
        learns_from (str): Forms of data in words.
        view (str): Type of the role views.
        drawer (str): Type of what draws its predictions.
        batch_size (tuple[int, int]): The least and the largest that is chosen.
        test_options (dict): What a data set for testing has beside the others.
        easier (str): Rule for images of several roles, where the usual one leaves a class without
            any; empty if there is none.
        one_class (bool): Whether an image has one class, so that its others need no look.
    """

    scope: str
    noun: str
    learns_from: str
    view: str
    drawer: str
    batch_size: tuple[int, int]
    test_options: Mapping[str, Any] = MappingProxyType(dict(test_mode=True))
    easier: str = ''
    one_class: bool = False

    @abstractmethod
    def formats(self) -> Sequence[Format]:
        """What its data may look like; the first that fits is taken."""

    @abstractmethod
    def write(self, data: OwnData, folder: Path) -> dict[str, dict[str, Any]]:
        """Check all images and put them into a folder (as links).

        Returns:
            dict[str, dict]: Configs of the host data set for ``train`` and ``test``, without a
            pipeline.

        Raises:
            SourceError: If an image cannot be read.
        """

    @abstractmethod
    def evaluator(self) -> dict[str, Any]:
        """Config of the metric by role."""

    @abstractmethod
    def answer(self, sample: Any, classes: Sequence[str], count: int, score: float) -> list[dict]:
        """What a model says of an image, as plain data, the most certain or largest first.

        Args:
            sample: The host's data sample with predictions.
            classes (Sequence[str]): Names.
            count (int): At most so many answers.
            score (float): Confidence from which an object is told.
        """

    def model_options(self, model: Mapping[str, Any]) -> dict[str, Any]:
        """Further arguments of the swapper."""
        return {}

    def loader_options(self) -> dict[str, Any]:
        """Further options of data loaders."""
        return {}

    def role_options(self, training: bool) -> dict[str, dict[str, Any]]:
        """Options of the role views by role."""
        return {role: {} for role in ROLES}

    def steps(self, pipeline: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Steps of a host's pipeline without what holds for its own data alone."""
        return [dict(step) for step in pipeline]

    def train_pipeline(self, test_pipeline: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Steps for training where a host's config has those for testing alone."""
        return [dict(step) for step in test_pipeline]

    def fits(self, path: Path) -> Format | None:
        """The format that a file or folder has."""
        return next((each for each in self.formats() if each.fits(path)), None)

    def read(
        self,
        option: str,
        path: Path,
        images: Path | None = None,
        others: Sequence[OwnTask] = (),
        only: str = '',
    ) -> OwnData:
        """List the images of a file or folder.

        Args:
            option (str): The option that names it, for messages.
            path (Path): The file or folder.
            images (Path | None): Folder of the images of a json.
            others (Sequence[OwnTask]): The other tasks, to say whose data it is.
            only (str): ``train`` or ``test`` if all of it is for that; a split of that name is
                taken alone.

        Raises:
            ConfigError: If there is nothing, or something that the task does not read.
            SourceError: If the data is damaged.
        """
        check_readable(option, path)
        chosen = self.fits(path)
        if chosen is None:
            found = [f'{f.name}, for a {other.noun}' for other in others if (f := other.fits(path))]
            problem = f'looks like {found[0]}' if found else 'is no data that is known'
            fix = f'give a {self.noun} {self.learns_from}'
            raise ConfigError(option, str(path), problem, fix)
        options = dict(images=images, option=option) if 'json' in chosen.name else {}
        reader = chosen.reader(path, val_share=0, **options)
        found = self.listed(reader)
        found, told = divide(found, only)
        classes = self.class_names(reader, found)
        if not ({only} if only else {'train', 'test'}) <= {each.split for each in found}:
            problem = f'{len(found)} images are too few to train and to test'
            raise ConfigError(option, str(path), problem, 'give two images a class, or more')
        known = list(getattr(reader, 'classes', ()))
        return OwnData(reader.root, found, classes, f'{chosen.name}; {told}', known)

    def listed(self, reader: Publisher) -> list[Any]:
        """The images of a reader, with their classes."""
        return reader.images()

    def class_names(self, reader: Publisher, images: Sequence[Any]) -> list[str]:
        """Names of the classes, in the order of the data."""
        return sorted({name for image in images for name in image.class_names})


def check_readable(option: str, path: Path) -> None:
    """Raise ConfigError if there is nothing, or only images without classes."""
    if not os.path.exists(path):
        raise ConfigError(option, str(path), 'is not there', 'fix the path')
    if path.is_file() and is_image_name(path.name):
        fix = 'give the folder that holds the data'
        raise ConfigError(option, str(path), 'is one image', fix)
    if path.is_dir():
        names = [each for each in path.iterdir() if not is_junk(each.name)]
        if not names:
            raise ConfigError(option, str(path), 'the folder is empty', 'put images into it')
        if all(each.is_file() and is_image_name(each.name) for each in names):
            fix = 'put them into a folder for each class, or give the file with their annotations'
            raise ConfigError(option, str(path), 'has images without classes', fix)


def divide(images: Sequence[Any], only: str = '') -> tuple[list[Any], str]:
    """Images in ``train`` and ``test`` by the splits of their data, and that in words.

    ``only`` is one of them if all images are for it, but for those of other splits.
    """
    splits = {each.split for each in images}
    tests = next((split for split in ('val', 'test') if split in splits), None)
    if only:
        own = ('test', 'val') if only == 'test' else ('train',)
        kept = next((split for split in own if split in splits and len(splits) > 1), None)
        chosen = [i for i in images if kept in (None, i.split)]
        return [replace(i, split=only) for i in chosen], f'all of it is to {only}'
    if tests is None:
        share = round(1 / TEST_SHARE)
        return hold_out(images), f'without a test split, one image in {share} of each class tests'
    names = dict(train='train') | {tests: 'test'}
    kept = [replace(i, split=names[i.split]) for i in images if i.split in names]
    return kept, f'its split {tests} tests'


def hold_out(images: Sequence[Any]) -> list[Any]:
    """Move a share of the images of each class to ``test``.

    An image of several classes counts for its rarest one. It is drawn by the name of the class and
    the order of the names of the images, so that it is the same each time. A class with two images
    has one of them in ``test``; one with a single image has none.
    """
    counts = Counter(name for image in images for name in image.class_names)
    groups: dict[str, list[int]] = {}
    for place, image in enumerate(images):
        rarest = min(image.class_names, key=lambda name: (counts[name], name), default='')
        groups.setdefault(rarest, []).append(place)
    held: set[int] = set()
    for name, places in groups.items():
        places.sort(key=lambda place: str(images[place].path))
        number = max(round(TEST_SHARE * len(places)), int(len(places) > 1))
        order = np.random.default_rng(derive_seed('own test data', name)).permutation(len(places))
        held.update(places[i] for i in order[:number])
    return [replace(i, split='test' if n in held else 'train') for n, i in enumerate(images)]


def short(error: SourceError) -> str:
    """Its first problems, in few lines."""
    more = len(error.problems) - 2
    shown = [f'  {problem:.300}' for problem in error.problems[:2]]
    return '\n'.join([*shown, f'  ... and {more} more'] if more > 0 else shown)
