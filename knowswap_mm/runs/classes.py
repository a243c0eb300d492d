"""What the results of a run say of single classes: values, answers, weak spots.

Answers are there where the evaluation of a classifier noted them: ``answers`` of a state holds by
role and class the number of ``images`` and, of the most frequent ``answers``, theirs:
``dict(forget=dict(trouser=dict(images=50, answers=dict(dress=42, shirt=8))))``.
"""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass
from typing import Any

from knowswap_mm.roles import FORGET, LEARN, RETAIN
from knowswap_mm.runs.reader import RunFolder
from knowswap_mm.runs.results import START, SwapResults

#: A class is weak below this share of the mean of the others of its role.
WEAK = 0.7
#: Answers that a sentence names, and the share from which a second one is worth it.
_NAMED, _WORTH = 2, 0.05


def class_values(record: RunFolder, role: str) -> tuple[str, dict[str, dict[str, float]]]:
    """The metric that a role has of its classes, whatever the task calls it.

    It is the one with a value for the most classes among the names that hold a class: with the
    class ``bag``, ``class/bag`` and ``coco/bag_precision`` are such names. Gives its name with
    ``*`` for the class, and by class its value in each state in percent; empty if there is none.
    """
    states = record.results.states
    prefix = f'{role}/'
    keys = {key for entry in states.values() for key in entry['metrics'] if key.startswith(prefix)}
    names = record.classes[role]
    patterns: Counter[tuple[str, str]] = Counter()
    for key in keys:
        for name in names:
            before, found, after = key.rpartition(name)
            # A class may be called as a part of another one, or of the metric.
            if found and before.endswith('/') and (not after or after[0] in '_/'):
                patterns[before, after] += 1
    if not patterns:
        return '', {}
    (before, after), _ = max(patterns.items(), key=lambda item: (item[1], item[0]))
    values: dict[str, dict[str, float]] = {}
    for name in names:
        for state, entry in states.items():
            value = entry['metrics'].get(f'{before}{name}{after}')
            if value is not None:
                values.setdefault(name, {})[state] = 100 * value / record.results.scale
    return f'{before}*{after}'.removeprefix(prefix), values


def class_answers(results: SwapResults, state: str, role: str) -> dict[str, dict[str, float]]:
    """Share of each answer by class, the most frequent first; without what is no such record."""
    by_role = results.states.get(state, {}).get('answers')
    found = by_role.get(role) if isinstance(by_role, dict) else None
    shares: dict[str, dict[str, float]] = {}
    for name, entry in found.items() if isinstance(found, dict) else ():
        entry = entry if isinstance(entry, dict) else {}
        images, answers = entry.get('images'), entry.get('answers')
        if isinstance(answers, dict) and all(map(_is_count, [images, *answers.values()])):
            ordered = sorted(answers.items(), key=lambda item: -item[1])
            shares[name] = {answer: count / images for answer, count in ordered}
    return shares


def new_answers(results: SwapResults, state: str) -> list[str]:
    """What each forgotten class is called instead, a sentence a class."""
    return [
        f'Forgotten {plain(name)} is called {_instead(name, shares)}.'
        for name, shares in class_answers(results, state, FORGET).items()
        if any(answer != name for answer in shares)
    ]


def _instead(name: str, shares: dict[str, float]) -> str:
    others = [(answer, share) for answer, share in shares.items() if answer != name]
    shown = [each for place, each in enumerate(others[:_NAMED]) if not place or each[1] >= _WORTH]
    text = ', '.join(f'{plain(answer)} in {_percent(share)}' for answer, share in shown)
    own = shares.get(name)
    return f'{text}, and still {plain(name)} in {_percent(own)}' if own else text


def _percent(share: float) -> str:
    if share < 0.01:
        return 'less than 1 %'
    return 'more than 99 %' if 0.99 < share < 1 else f'{100 * share:.0f} %'


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def plain(value: Any) -> str:
    """Text of a file in one line that a terminal can show."""
    text = '' if value is None else str(value)
    return ' '.join(''.join(c if c.isprintable() else ' ' for c in text).split())


@dataclass(frozen=True)
class WeakSpot:
    """A class that is to be known, and is known far worse than the others of its role.

    Attributes:
        role (str): ``learn`` or ``retain``.
        name (str): The class.
        before (float | None): Its metric before the swap in percent, if it was measured.
        after (float): The same at the end.
        others (float): Mean of the other classes of the role at the end.
        instead (tuple[str, float] | None): The wrong answer that is most frequent, and its share.
    """

    role: str
    name: str
    before: float | None
    after: float
    others: float
    instead: tuple[str, float] | None = None

    @classmethod
    def of_run(cls, record: RunFolder, state: str) -> list[WeakSpot]:
        """Those of a state; of each role the weakest first."""
        found = []
        for role in (LEARN, RETAIN):
            ends = class_ends(record, role, state)
            answers = class_answers(record.results, state, role)
            total = sum(end for _, end in ends.values())
            weak = []
            for name, (before, end) in ends.items():
                others = (total - end) / max(len(ends) - 1, 1)
                if end < WEAK * others:
                    wrong = [each for each in answers.get(name, {}).items() if each[0] != name]
                    instead = wrong[0] if wrong else None
                    weak.append(cls(role, name, before, end, others, instead))
            found += sorted(weak, key=lambda spot: spot.after)
        return found


def class_ends(record: RunFolder, role: str, state: str) -> dict[str, tuple[float | None, float]]:
    """Metric in percent of each class of a role at the start, if measured, and in a state."""
    _, values = class_values(record, role)
    return {n: (v.get(START), v[state]) for n, v in values.items() if state in v}


def mean_of_others(record: RunFolder, role: str, state: str, without: set[str]) -> float | None:
    """Mean of the classes of a role that are not named; None if there is none."""
    ends = [
        end for name, (_, end) in class_ends(record, role, state).items() if name not in without
    ]
    return statistics.mean(ends) if ends else None
