"""Did it work?"""

from __future__ import annotations

from dataclasses import dataclass

from knowswap_mm.roles import FORGET, LEARN, RETAIN, ROLES
from knowswap_mm.runs.reader import RunFolder
from knowswap_mm.runs.results import START

YES, PARTLY, NO = 'yes', 'in part', 'no'
#: A metric fell, and two of them tell different stories, from so much on, in percent.
POINT = 1.0
#: Share of the host's level before the swap that learned classes must reach: for yes, in part.
LEARNED = (0.8, 0.4)
#: Share of their level before that forgotten classes may keep.
FORGOTTEN = (0.05, 0.5)
#: Share of their level before that retained classes may lose.
LOST = (0.05, 0.15)
RULES = (
    'Learned means at least 80 % of the level that the retained classes had before the swap (in '
    'part: 40 %). Forgotten means at most 5 % of the level before (in part: 50 %). Retained means '
    'that at most 5 % of the level before were lost (in part: 15 %). A level is the primary metric.'
)
CAVEAT = (
    'This speaks of answers. Whether the knowledge behind them is gone is for an audit to say '
    '(knowswap audit).'
)


@dataclass(frozen=True)
class Remark:
    """What happened, and what to change.

    Attributes:
        role (str): The role that it is about; empty for the whole run.
        text (str): What happened, without a full stop.
        change (str): What to change; empty if nothing follows from it.
    """

    role: str
    text: str
    change: str = ''

    def __str__(self) -> str:
        return f'{self.text}: {self.change}.' if self.change else f'{self.text}.'


@dataclass(frozen=True)
class Outcome:
    """What became of each role, by simple rules (:data:`RULES`).

    Attributes:
        word (str): ``yes``, ``in part``, ``no``, or ``unknown``.
        headline (str): The answer in one line.
        roles (dict[str, tuple[str, str]]): By role the word, and a sentence with the numbers.
        end (str): The state that was judged; empty if none was.
    """

    word: str
    headline: str
    roles: dict[str, tuple[str, str]]
    end: str = ''

    @classmethod
    def of(cls, record: RunFolder) -> Outcome:
        """Judge a run by its last state; one that a decision stopped counts as finished."""
        stopped = any(decision['kind'] == 'stop' for decision in record.decisions)
        if not record.finished and not (stopped and len(record.results.states) > 1):
            done = max((each['iteration'] for each in record.results.states.values()), default=0)
            headline = f'Not finished: evaluated last at iteration {done} of {record.total}.'
            return cls('unknown', headline, {})
        end = list(record.results.states)[-1] if stopped else record.phases[-1]['name']
        kinds = set(record.results.kinds) or {phase['kind'] for phase in record.phases}
        before = {r: record.results.value(START, r) for r in (LEARN, FORGET, RETAIN)}
        after = {r: record.results.value(end, r) for r in (LEARN, FORGET, RETAIN)}
        roles: dict[str, tuple[str, str]] = {}
        if kinds & {'learn', 'joint', 'expand'} and after[LEARN] is not None:
            word = _at_least(after[LEARN], before[RETAIN], LEARNED)
            roles[LEARN] = (word, _sentence('Learned', before[LEARN], after[LEARN]))
        if kinds & {'forget', 'joint'} and after[FORGET] is not None:
            word = _at_most(after[FORGET], before[FORGET], FORGOTTEN)
            roles[FORGET] = (word, _sentence('Forgotten', before[FORGET], after[FORGET]))
        if after[RETAIN] is not None:
            lost = None if before[RETAIN] is None else before[RETAIN] - after[RETAIN]
            word = _at_most(lost, before[RETAIN], LOST)
            sentence = _sentence('Retained', before[RETAIN], after[RETAIN])
            roles[RETAIN] = (word, sentence + _apart(record, end))
        words = [word for word, _ in roles.values()]
        if not words or None in words:
            # Learning is judged by what retain had before the swap.
            asked = {RETAIN if role == LEARN else role for role in roles}
            levels = {role: before[role] for role in ROLES if role in asked}
            return cls('unknown', _unjudged(levels), roles, end)
        if NO in words:
            return cls(NO, 'It did not work.', roles, end)
        if PARTLY in words:
            return cls(PARTLY, 'It worked in part.', roles, end)
        if FORGET in roles and _recovered(record):
            headline = 'The answers are as asked, but an audit recovers what was to be forgotten.'
            return cls(PARTLY, headline, roles, end)
        return cls(YES, 'It worked, as far as the answers tell.', roles, end)


def _unjudged(levels: dict[str, float | None]) -> str:
    """Why there is no verdict, by what each role had before the swap."""
    if not levels or None in levels.values():
        return 'Not judged: there is no evaluation before the swap.'
    empty = ' and '.join(role for role, level in levels.items() if not level)
    return (
        f'Not judged: {empty} had 0.0 before the swap, so that no share of it can be kept or lost.'
    )


def _recovered(record: RunFolder) -> bool:
    findings = [f for audit in record.audits.values() for f in audit.get('findings', ())]
    return any(finding.get('verdict') == 'recovered' for finding in findings)


def _at_least(value: float, level: float | None, shares: tuple[float, float]) -> str | None:
    if not level:
        return None
    return YES if value >= shares[0] * level else PARTLY if value >= shares[1] * level else NO


def _at_most(value: float | None, level: float | None, shares: tuple[float, float]) -> str | None:
    if value is None or not level:
        return None
    return YES if value <= shares[0] * level else PARTLY if value <= shares[1] * level else NO


def _apart(record: RunFolder, end: str) -> str:
    """What is retained where no forgotten class is, if that is another story."""
    measured = record.results.value, record.results.apart
    ends = [value(state, RETAIN) for value in measured for state in (START, end)]
    if None in ends:
        return ''
    before, after, first, last = ends
    if (before - after) - (first - last) < POINT:
        return ''
    return f' ({first:.1f} → {last:.1f} where no forgotten class is)'


def _sentence(what: str, before: float | None, after: float) -> str:
    return f'{what}: {"?" if before is None else f"{before:.1f}"} → {after:.1f}'
