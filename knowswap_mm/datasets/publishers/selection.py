"""Chooses classes and pictures of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from knowswap_mm.datasets.publishers.picture import Picture, SourceError
from knowswap_mm.datasets.seeding import derive_seed


def select_pictures(
    pictures: Sequence[Picture],
    classes: Sequence[str] | None = None,
    per_class: int | None = None,
    fraction: float = 1.0,
    seed: int = 0,
    root: str | Path = '.',
) -> list[Picture]:
    """Choose pictures; what is drawn of a class does not depend on the other classes.

    Args:
        pictures (Sequence[Picture]): All of them.
        classes (Sequence[str] | None): Names to keep; None for all.
        per_class (int | None): Training pictures of a class at most; other splits stay whole.
        fraction (float): Share of the training pictures of each class, in (0, 1].
        seed (int): Seed of the draw.
        root (str | Path): The folder, for messages.

    Returns:
        list[Picture]: The chosen ones in their order.

    Raises:
        SourceError: If a class is unknown or listed twice.
        ValueError: If a number is out of range.
    """
    if not 0 < fraction <= 1 or (per_class is not None and per_class < 1):
        raise ValueError(f'fraction {fraction} must be in (0, 1], per class {per_class} at least 1')
    known = sorted({picture.class_name for picture in pictures})
    wanted = list(known if classes is None else classes)
    problems = [f'there is no class {name!r}; some are {known[:5]}' for name in wanted]
    problems = [text for name, text in zip(wanted, problems, strict=True) if name not in set(known)]
    problems += [
        f'class {n!r} is listed twice' for n in dict.fromkeys(wanted) if wanted.count(n) > 1
    ]
    if problems:
        raise SourceError(Path(root), problems)
    kept = set()
    for name in wanted:
        train = [i for i, p in enumerate(pictures) if p.class_name == name and p.split == 'train']
        rng = np.random.default_rng(derive_seed('pictures', seed, name))
        count = max(round(len(train) * fraction), 1)
        kept.update(rng.permutation(train)[: min(count, per_class or count)].tolist())
    chosen = set(wanted)
    return [
        picture
        for i, picture in enumerate(pictures)
        if picture.class_name in chosen and (picture.split != 'train' or i in kept)
    ]
