"""What the images of a class are called, where the evaluation of a classifier noted it.

In a state of the results, ``answers`` holds by role and class the number of ``images`` and, of the
most frequent ``answers``, theirs: ``dict(forget=dict(trouser=dict(images=50, answers=dict(dress=42,
shirt=8))))``.
"""

from __future__ import annotations

from typing import Any

from knowswap_mm.roles import FORGET
from knowswap_mm.runs.results import SwapResults

#: Answers that a sentence names, and the share from which a second one is worth it.
_NAMED, _WORTH = 2, 0.05


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
