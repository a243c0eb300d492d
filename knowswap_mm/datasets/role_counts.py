"""How many samples each class of each role has, and what was left out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.logging import print_log

from knowswap_mm.datasets.role_view import RoleView

#: A class with less than this share of the samples of the largest one of its role is in the tail.
TAIL_SHARE = 0.05
_SHOWN = 8


def role_counts(views: Mapping[str, RoleView]) -> dict[str, dict[str, Any]]:
    """Count what the views of a data set serve, for ``run.json`` and the report.

    Args:
        views (Mapping[str, RoleView]): The views by role, bound to their classes.

    Returns:
        dict[str, dict]: By role ``samples``, ``left_out`` (samples by the reason), ``fraction``,
        ``classes`` (drawn samples that hold each class) and ``available`` (the same before the
        fraction was drawn). A sample counts for every class that it holds.
    """
    counts = {}
    for role, view in views.items():
        drawn = view.count_classes(view.indices)
        whole = view.fraction == 1
        counts[role] = dict(
            samples=len(view),
            fraction=view.fraction,
            left_out=dict(view.left_out),
            classes=drawn,
            available=drawn if whole else view.count_classes(view.selected),
        )
    return counts


def count_problems(counts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Sentences about classes that have no sample, or very few beside the others.

    Args:
        counts (Mapping): What :func:`role_counts` gave.
    """
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
    """Warn of classes without samples, by name, before anything trains (issue 24).

    Args:
        views (Mapping[str, RoleView]): The views by role, bound to their classes.
    """
    for problem in count_problems(role_counts(views)):
        print_log(f'dataset.roles.{problem}', logger='current', level=logging.WARNING)


def _listed(names: Sequence[str]) -> str:
    shown = ', '.join(map(str, names[:_SHOWN]))
    more = f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''
    return f'class{"es" if len(names) > 1 else ""} {shown}{more}'
