"""Chooses classes and images of a data set."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from knowswap_mm.checks import check_number, check_whole, nearest_name
from knowswap_mm.data_tools.images import SourceError
from knowswap_mm.datasets.classes import composed
from knowswap_mm.datasets.seeding import derive_seed


class Labelled(Protocol):
    """An image that has a split and classes."""

    split: str

    @property
    def class_names(self) -> Sequence[str]:
        """Its classes."""


T = TypeVar('T', bound=Labelled)


def select_images(
    images: Sequence[T],
    classes: Sequence[str] | None = None,
    per_class: int | None = None,
    fraction: float = 1.0,
    seed: int = 0,
    root: str | Path = '.',
) -> list[T]:
    """Choose images; what is drawn of a class does not depend on the other classes.

    An image of several classes is taken if it is drawn for one of them.

    Args:
        images (Sequence): All of them, with ``split`` and ``class_names``.
        classes (Sequence[str] | None): Names to keep; None for all.
        per_class (int | None): Training images of a class at most; other splits stay whole.
        fraction (float): Share of the training images of each class, in (0, 1].
        seed (int): Seed of the draw.
        root (str | Path): The folder, for messages.

    Returns:
        list: The chosen ones in their order.

    Raises:
        SourceError: If a class is unknown or listed twice.
        ConfigError: If a number is out of range.
    """
    check_draw(per_class, fraction)
    train: dict[str, list[int]] = {}
    for i, image in enumerate(images):
        for name in image.class_names:
            members = train.setdefault(name, [])
            if image.split == 'train':
                members.append(i)
    wanted = list(sorted(train) if classes is None else classes)
    check_classes(wanted, sorted(train), root)
    kept = set()
    for name in wanted:
        rng = np.random.default_rng(derive_seed('pictures', seed, name))
        count = max(round(len(train[name]) * fraction), 1)
        kept.update(rng.permutation(train[name])[: min(count, per_class or count)].tolist())
    chosen = set(wanted)
    return [
        image
        for i, image in enumerate(images)
        if (i in kept if image.split == 'train' else not chosen.isdisjoint(image.class_names))
    ]


def check_draw(per_class: int | None, fraction: float) -> None:
    """Raise ConfigError if a number is out of range."""
    check_number('--fraction', fraction, 'in (0, 1]', 0.1)
    if per_class is not None:
        check_whole('--per-class', per_class, 1, 100)


def check_classes(wanted: Sequence[str], known: Sequence[str], root: str | Path) -> None:
    """Raise SourceError if a wanted class is unknown or listed twice."""
    lookup = set(known)
    problems = [_unknown(name, known) for name in wanted if name not in lookup]
    problems += [
        f'class {n!r} is listed twice' for n in dict.fromkeys(wanted) if wanted.count(n) > 1
    ]
    if problems:
        raise SourceError(Path(root), problems)


def _unknown(name: str, known: Sequence[str]) -> str:
    near = nearest_name(name, known, 3) or list(known[:5])
    return f'there is no class {name!r}. Fix: did you mean one of {near}'


def match_names(
    names: Sequence[str], known: Sequence[str], root: str | Path, option: str = 'classes'
) -> list[str]:
    """Full names of classes; ``n01537544`` also stands for the folder ``17_n01537544``.

    Raises:
        SourceError: Names every class that is unknown.
    """
    there = {composed(name): name for name in known}  # whatever form of Unicode a folder has
    short = {name.split('_', 1)[1]: name for name in known if re.match(r'\d+_n\d{8}$', name)}
    full = [there.get(composed(name)) or short.get(name, name) for name in names]
    problems = [
        f'{option}: {_unknown(name, known)}' for name in full if composed(name) not in there
    ]
    if problems:
        raise SourceError(Path(root), problems)
    return full
