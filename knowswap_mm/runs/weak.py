"""Classes that stand out from their role, by name."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from knowswap_mm.roles import LEARN, RETAIN
from knowswap_mm.runs.answers import class_answers
from knowswap_mm.runs.outcome import class_values
from knowswap_mm.runs.reader import RunFolder
from knowswap_mm.runs.results import START

#: A class is weak below this share of the mean of the others of its role.
WEAK = 0.7


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
