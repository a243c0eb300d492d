"""Classes that stand out from their role, as what to look at and what to change."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from knowswap_mm.roles import FORGET, LEARN, RETAIN
from knowswap_mm.runs.classes import class_answers, class_ends, percent, plain, taken_for
from knowswap_mm.runs.outcome import FORGOTTEN, LOST, YES, Remark
from knowswap_mm.runs.reader import RunFolder
from knowswap_mm.runs.results import START

#: A class is weak below this share of the mean of the others of its role.
WEAK = 0.7
#: So many classes are named.
NAMED = 3


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
                    given = answers.get(name, {}).items()
                    wrong = [(each or 'nothing', n) for each, n in given if each != name]
                    instead = wrong[0] if wrong else None
                    weak.append(cls(role, name, before, end, others, instead))
            found += sorted(weak, key=lambda spot: spot.after)
        return found


def weak_classes(
    record: RunFolder, roles: Mapping[str, tuple[str | None, str]], state: str
) -> Iterator[Remark]:
    """Classes that stand out from their role in a state, by name.

    Args:
        record (RunFolder): The run.
        roles (Mapping): By role the word of the verdict, as :class:`Outcome` has it.
        state (str): The state.
    """
    spots = WeakSpot.of_run(record, state) if LEARN in roles else []
    weak = {spot.name: spot.after for spot in spots if spot.role == LEARN}
    others = mean_of_others(record, LEARN, state, set(weak))
    if weak and others is not None:
        named = _listed(
            [
                f'{plain(name)} ({end:.1f}{_confused(record, state, name)})'
                for name, end in weak.items()
            ]
        )
        text = f'far below the other learned classes ({others:.1f}): {named}'
        yield Remark(LEARN, text, 'look at their images, or take more of them')
    before, after = (record.results.value(each, RETAIN) for each in (START, state))
    if RETAIN in roles and before and after is not None:
        limit = max(LOST[1], 2 * (before - after) / before)
        lost = {
            n: 1 - e / b for n, (b, e) in class_ends(record, RETAIN, state).items() if b and e < b
        }
        lost = {name: share for name, share in lost.items() if share > limit}
        told = 'retained classes that lost most', 'take more retain images of them'
        yield from _stand_out(record, roles, state, RETAIN, lost, told)
    if FORGET in roles:
        kept = {name: end / b for name, (b, end) in class_ends(record, FORGET, state).items() if b}
        kept = {name: share for name, share in kept.items() if share > 2 * FORGOTTEN[0]}
        told = 'forget classes that keep most', 'take more forget images of them'
        yield from _stand_out(record, roles, state, FORGET, kept, told)


def mean_of_others(record: RunFolder, role: str, state: str, without: set[str]) -> float | None:
    """Mean of the classes of a role that are not named; None if there is none."""
    ends = [
        end for name, (_, end) in class_ends(record, role, state).items() if name not in without
    ]
    return statistics.mean(ends) if ends else None


def _stand_out(
    record: RunFolder, roles: Mapping[str, tuple[str | None, str]], state: str, role: str,
    shares: dict[str, float], told: tuple[str, str],
) -> Iterator[Remark]:  # fmt: skip
    if not shares:
        return
    ends = class_ends(record, role, state)
    names = sorted(shares, key=lambda name: -shares[name])
    named = [
        f'{plain(n)} ({ends[n][0]:.1f} to {ends[n][1]:.1f}{_confused(record, state, n)})'
        for n in names
    ]
    # Where the role failed as a whole, another remark says what to change.
    change = told[1] if roles[role][0] in (None, YES) else ''
    yield Remark(role, f'{told[0]}: {_listed(named)}', change)


def _confused(record: RunFolder, state: str, name: str) -> str:
    """Which forgotten class is now called like this one; empty if none is."""
    found = taken_for(record.results, state, name)
    others = [each for each in found if each[0] != name]
    if not others:
        return ''
    return f'; forgotten {plain(others[0][0])} is called so in {percent(others[0][1])}'


def _listed(names: list[str]) -> str:
    more = len(names) - NAMED
    return ', '.join(names[:NAMED]) + (f' and {more} more' if more > 0 else '')
