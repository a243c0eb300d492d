"""What the results of a run say of single classes: values and answers.

``answers`` of a state holds by role and class the number of ``units`` (images of a classifier,
objects of a detector, pixels of a segmentor) and, of the most frequent ``answers``, theirs:
``dict(forget=dict(trouser=dict(units=50, answers=dict(dress=42, shirt=8))))``. The answer for an
object on which nothing was found is empty.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from knowswap_mm.roles import FORGET
from knowswap_mm.runs.reader import RunFolder
from knowswap_mm.runs.results import START, SwapResults

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
        # Runs of earlier versions wrote images.
        units, answers = entry.get('units', entry.get('images')), entry.get('answers')
        if isinstance(answers, dict) and all(map(_is_count, [units, *answers.values()])):
            ordered = sorted(answers.items(), key=lambda item: -item[1])
            shares[name] = {answer: count / units for answer, count in ordered}
    return shares


def new_answers(results: SwapResults, state: str) -> list[str]:
    """What each forgotten class is called instead, a sentence a class."""
    return [
        f'Forgotten {plain(name)} is {_instead(name, shares)}.'
        for name, shares in class_answers(results, state, FORGET).items()
        if any(answer != name for answer in shares)
    ]


def taken_for(results: SwapResults, state: str, name: str) -> list[tuple[str, float]]:
    """The forgotten classes that a class is now found for, and in which share of their units."""
    found = class_answers(results, state, FORGET).items()
    shares = [(forgotten, answers.get(name, 0.0)) for forgotten, answers in found]
    return sorted((each for each in shares if each[1] >= _WORTH), key=lambda each: -each[1])


def _instead(name: str, shares: dict[str, float]) -> str:
    others = [(answer, share) for answer, share in shares.items() if answer not in (name, '')]
    shown = [each for place, each in enumerate(others[:_NAMED]) if not place or each[1] >= _WORTH]
    parts = []
    if shown:
        named = ', '.join(f'{plain(answer)} in {percent(share)}' for answer, share in shown)
        parts.append(f'called {named}')
    if missed := shares.get(''):
        parts.append(f'not found in {percent(missed)}')
    if own := shares.get(name):
        parts.append(f'and still {plain(name)} in {percent(own)}')
    return ', '.join(parts)


def percent(share: float) -> str:
    """A share in words that claim neither none nor all where it is not so."""
    if share < 0.01:
        return 'less than 1 %'
    return 'more than 99 %' if 0.99 < share < 1 else f'{100 * share:.0f} %'


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def plain(value: Any) -> str:
    """Text of a file in one line that a terminal can show."""
    text = '' if value is None else str(value)
    return ' '.join(''.join(c if c.isprintable() else ' ' for c in text).split())


def class_ends(record: RunFolder, role: str, state: str) -> dict[str, tuple[float | None, float]]:
    """Metric in percent of each class of a role at the start, if measured, and in a state."""
    _, values = class_values(record, role)
    return {n: (v.get(START), v[state]) for n, v in values.items() if state in v}
