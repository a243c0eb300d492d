"""How many samples and objects each class of each role has, and what was left out and why."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from mmengine.logging import print_log

from knowswap_mm.errors import ConfigError

if TYPE_CHECKING:
    from knowswap_mm.datasets.role_view import RoleView

#: From this share of left out images on, the log warns.
MANY = 0.3
#: A class with less than this share of the samples of the largest one of its role is in the tail.
TAIL_SHARE = 0.05
_SHOWN = 8


def listed_counts(counts: Mapping[str, int]) -> str:
    """How often each reason holds, in words for a message."""
    return '; '.join(f'{count} {reason}' for reason, count in counts.items())


class RoleCounts:
    """Images and objects (or pixels) of a role by class, before and after images are left out.

    Args:
        key (str): Config key of the role.
        unit (str): What is counted in an image: ``objects`` or ``pixels``.
        names (list[str]): Classes of the role.
        table (np.ndarray): Objects by image of the data and class, ``(images, classes)``.
        training (bool): Whether the data is to train on: what is too little is refused then.

    Attributes:
        left_out (Counter): Images by reason.
        other (Counter): What else became of annotations, by reason.
    """

    def __init__(
        self, key: str, unit: str, names: list[str], table: np.ndarray, training: bool
    ) -> None:
        self.key, self.unit, self.names, self.table = key, unit, names, table
        self.training = training
        self.left_out: Counter[str] = Counter()
        self.other: Counter[str] = Counter()
        self.used = np.zeros(0, np.int64)

    def check(self, selected: np.ndarray, option: str, value: Any, fix: str) -> None:
        """Judge what a rule for mixed images leaves, before a fraction is drawn.

        Raises:
            ConfigError: If no image is left of all, or in training of a class that had some.
        """
        total = len(selected) + sum(self.left_out.values())
        gone = total - len(selected)
        if not gone:
            return
        reasons = listed_counts(self.left_out)
        if not len(selected):
            problem = f'all {gone} images of the role hold objects of other classes ({reasons})'
            if self.unit == 'pixels':
                problem = f'all {gone} images of the role hold other classes, too ({reasons})'
            raise ConfigError(f'{self.key}.{option}', value, problem, fix)
        before = (self.table > 0).sum(axis=0)
        after = (self.table[selected] > 0).sum(axis=0)
        lost = [
            f'{name!r} ({count} before)'
            for name, count, rest in zip(self.names, before, after, strict=True)
            if count and not rest
        ]
        told = f'{gone} of {total} images of the role are left out: {reasons}'
        if lost:
            told += f'; none is left of {", ".join(lost[:5])}'
            if self.training:
                raise ConfigError(f'{self.key}.{option}', value, told, fix)
        if lost or gone > MANY * total:
            text = f'{self.key}.{option} = {value!r}: {told}. Fix: {fix}.'
            print_log(text, logger='current', level=logging.WARNING)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``run.json`` and the report."""
        used = self.table[self.used]
        classes = {
            name: dict(
                images=int((self.table[:, i] > 0).sum()),
                images_used=int((used[:, i] > 0).sum()),
                **{f'{self.unit}_used': int(used[:, i].sum())},
            )
            for i, name in enumerate(self.names)
        }
        return dict(
            unit=self.unit,
            images=int((self.table > 0).any(axis=1).sum()),
            images_used=len(self.used),
            left_out=dict(self.left_out),
            other=dict(self.other),
            classes=classes,
        )

    def describe(self) -> str:
        """What is used, and what not, in one line, and a line of the classes."""
        found = self.to_dict()
        total = sum(each[f'{self.unit}_used'] for each in found['classes'].values())
        unit = 'boxes' if self.unit == 'objects' else self.unit
        text = f'{self.key}: {len(self.used)} images with {total} {unit} of the role'
        if self.left_out:
            reasons = listed_counts(self.left_out)
            text += f'; {sum(self.left_out.values())} images left out ({reasons})'
        if self.other:
            text += f'; {listed_counts(self.other)}'
        each = [
            f'{name} {c["images_used"]} of {c["images"]} images, {c[f"{self.unit}_used"]} {unit}'
            for name, c in found['classes'].items()
        ]
        more = f', and {len(each) - 20} more classes' if len(each) > 20 else ''
        return f'{text}.\n  by class: {"; ".join(each[:20])}{more}'


def role_counts(views: Mapping[str, RoleView]) -> dict[str, dict[str, Any]]:
    """Count what the views of a data set serve, for ``run.json`` and the report.

    Returns:
        dict[str, dict]: By role ``samples``, ``held_out`` (samples that do not train), ``left_out``
        (samples by the reason), ``fraction``, ``classes`` (samples that hold each class) and
        ``available`` (the same before the fraction was drawn, those held out included). A sample
        counts for every class that it holds. Where images hold several objects, also ``objects``
        (drawn, by class), their ``unit``, and ``other`` (what became of annotations that are not
        used as they are, by the reason).
    """
    counts = {}
    for role, view in views.items():
        drawn = view.count_classes(view.indices)
        whole = view.fraction == 1 and not len(view.held_out)
        counts[role] = dict(
            samples=len(view),
            held_out=len(view.held_out),
            fraction=view.fraction,
            left_out={},
            classes=drawn,
            available=drawn if whole else view.count_classes(view.selected),
        )
        if view.counts is not None:
            found = view.counts.to_dict()
            unit, parts = found['unit'], found['classes'].items()
            counts[role].update(
                {key: found[key] for key in ('left_out', 'other', 'unit')},
                objects={name: each[f'{unit}_used'] for name, each in parts},
            )
    return counts


def count_problems(counts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Sentences about classes that have no sample, or very few beside the others."""
    problems = []
    for role, found in counts.items():
        drawn, available = found['classes'], found['available']
        absent = [name for name in drawn if not available.get(name)]
        undrawn = [name for name, n in drawn.items() if not n and available.get(name)]
        largest = max(drawn.values(), default=0)
        few = {name: n for name, n in drawn.items() if 0 < n < TAIL_SHARE * largest}
        if absent:
            problems.append(
                f'{role}: {_listed(absent)} without a sample: nothing is learned, lost or kept of '
                f'what has no data. Fix: add images, or take them out of swap.classes.{role}.'
            )
        if undrawn:
            problems.append(
                f'{role}: {_listed(undrawn)} without a sample, because '
                f'fraction={found["fraction"]:g} draws none of theirs. Fix: set '
                f"dataset.roles.{role}.fraction_by='class', or a larger fraction."
            )
        if few:
            names = [f'{name} ({n})' for name, n in sorted(few.items(), key=lambda item: item[1])]
            problems.append(
                f'{role}: {_listed(names)} with very few samples beside the {largest} of the '
                'largest class: they hardly count in the loss of the role.'
            )
    return problems


def warn_of_counts(views: Mapping[str, RoleView]) -> None:
    """Warn of classes without samples, by name, before anything trains (issue 24)."""
    for problem in count_problems(role_counts(views)):
        print_log(f'dataset.roles.{problem}', logger='current', level=logging.WARNING)


def _listed(names: Sequence[str]) -> str:
    shown = ', '.join(map(str, names[:_SHOWN]))
    more = f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''
    return f'class{"es" if len(names) > 1 else ""} {shown}{more}'
