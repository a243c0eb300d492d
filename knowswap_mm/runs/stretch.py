"""What the files of a run tell about one of its phases."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from knowswap_mm.roles import RETAIN
from knowswap_mm.runs.reader import RunFolder
from knowswap_mm.runs.results import START
from knowswap_mm.schedule.phase import PHASE_KINDS

Points = list[tuple[int, float]]
#: Points of a curve from which on its quarters say something.
ENOUGH = 8
#: Share of its whole way that a curve must still go in its last quarter to count as not at rest.
MOVING = 0.1
#: A loss has jumped if it is so many times what it was, and so many deviations above it.
JUMP, DEVIATIONS = 2.0, 4.0
#: In the text of a config.
_CLIPPED = re.compile(r'clip_grad\s*=\s*(dict|\{)')
#: What happens in this share of a phase happens at its beginning.
EARLY = 0.25


@dataclass(frozen=True)
class Stretch:
    """A phase as far as it ran.

    Attributes:
        record (RunFolder): The run.
        phase (dict): The phase, as the schedule has it.
        before (str | None): The state that was evaluated when it began; None if there is none.
        after (str | None): Its own state; None if it was not evaluated.
        earlier (Stretch | None): The phase before it.
    """

    record: RunFolder
    phase: dict[str, Any]
    before: str | None
    after: str | None
    earlier: Stretch | None

    @classmethod
    def of_run(cls, record: RunFolder) -> list[Stretch]:
        """All phases of a run, also those that it did not come to."""
        states = record.results.states
        found: list[Stretch] = []
        before: str | None = START
        for phase in record.phases:
            name = phase['name']
            known = before if before in states else None
            after = name if name in states else None
            found.append(cls(record, phase, known, after, found[-1] if found else None))
            before = name
        return found

    @property
    def name(self) -> str:
        """E.g. ``phase1_learn``."""
        return self.phase['name']

    @property
    def aims(self) -> tuple[str, ...]:
        """The roles of its kind."""
        return PHASE_KINDS.get(self.phase['kind'], ())

    @property
    def key(self) -> str:
        """What a user writes in front of the settings of the phase."""
        return f'swap.phases.{self.phase["index"]}'

    @property
    def begin(self) -> int:
        """Iterations done when it begins."""
        return self.phase.get('begin', 0)

    @property
    def length(self) -> int:
        """Its iterations."""
        return self.phase.get('length', 0)

    @property
    def bound(self) -> float | None:
        """Bound of the forget loss; None if there is none."""
        return _number(self.phase.get('bound'))

    def change(self, role: str) -> float | None:
        """By how many percent of its best value the metric rose; None if that is not known."""
        ends = [self.value(role, state) for state in (self.before, self.after)]
        return None if None in ends else ends[1] - ends[0]

    def spared(self, role: str) -> tuple[float, float] | None:
        """Both ends of its metric where no forgotten class is, if it fell by less than half there.

        The rest of the fall is of forgotten classes that are called like those of the role.
        """
        if (change := self.change(role)) is None or change >= 0:
            return None
        apart = [_number(self.record.results.apart(s, role)) for s in (self.before, self.after)]
        return None if None in apart or apart[1] - apart[0] < change / 2 else tuple(apart)

    @property
    def deep(self) -> bool:
        """Whether features are to forget, too."""
        return 'FeatureMatchingLoss' in (self.record.config or '')

    def value(self, role: str, state: str | None) -> float | None:
        """The metric of a role in percent of its best value; None if it was not measured."""
        value = None if state is None else self.record.results.value(state, role)
        return _number(value)

    def logged(self, key: str) -> Points:
        """A logged value over the iterations of the phase, without what a decision took back."""
        return self._inside(self.record.scalars.curve(key))

    def measured(self, role: str) -> Points:
        """Evaluations of a role within the phase, its end among them, in percent."""
        results = self.record.results
        points = self.record.scalars.evaluated(f'{role}/{results.primary}')
        return self._inside([(x, 100 * y / results.scale) for x, y in points])

    def _inside(self, points: Points) -> Points:
        undone = [
            (each['to'], each['at'])
            for each in self.record.decisions
            if type(each.get('to')) is int and each['phase'] == self.phase['index']
        ]
        return [
            (x, y)
            for x, y in points
            if self.begin < x <= self.begin + self.length
            and not any(to < x <= at for to, at in undone)
        ]

    @property
    def rate(self) -> float | None:
        """Its largest learning rate; None if none was logged."""
        return max((y for _, y in self.logged('lr')), default=None)

    def now(self, weight: str) -> str:
        """A loss weight in brackets, if it is known."""
        weights = self.phase.get('weights')
        value = _number(weights.get(weight)) if isinstance(weights, dict) else None
        return '' if value is None else f' ({value:g} now)'

    def longer(self) -> str:
        """How the phase is made longer."""
        epoch = self.phase.get('epoch_length')
        if epoch and self.length % epoch == 0:
            return f'raise {self.key}.epochs ({self.length // epoch} now)'
        return f'raise {self.key}.iters ({self.length} now)'

    def gentler(self) -> str:
        """How its steps are made smaller."""
        rate = '' if self.rate is None else f', the rate was {self.rate:.2g}'
        factor = 0.3 * (_number(self.phase.get('lr_factor')) or 1.0)
        own = self.phase.get('restart_lr', True)
        key = f'{self.key}.lr_factor={factor:.2g}' if own else 'optim_wrapper.optimizer.lr'
        text = f'lower the learning rate of the phase ({key}{rate})'
        if _CLIPPED.search(self.record.config or ''):
            return text
        return f'{text} or clip gradients (optim_wrapper.clip_grad=dict(max_norm=1.0))'

    def harder(self, role: str) -> str:
        """What is raised so that a role moves more."""
        rate = '' if self.rate is None else f' (it was {self.rate:.2g})'
        return f'{self.key}.weights.{role}{self.now(role)} or the learning rate{rate}'

    def retain_jump(self) -> tuple[int, float, float] | None:
        """Where the retain loss jumped up: iteration in the phase, the loss before, the highest.

        The iteration is the first one that was logged with half of the way up behind it: to the
        median of the values that stand out, as batches differ. None if no value stands out from
        what they were in the last quarter of the phase before.
        """
        key = f'{RETAIN}/raw'
        points = self.logged(key)
        before = [y for _, y in self.earlier.logged(key)] if self.earlier else []
        before = before[-max(len(before) // 4, 2) :]
        if len(points) < 2 or len(before) < 2:
            return None
        base = statistics.mean(before)
        limit = max(JUMP * base, base + DEVIATIONS * statistics.stdev(before))
        high = [y for _, y in points if y >= limit]
        if not high:
            return None
        middle = (base + statistics.median(high)) / 2
        return next(x for x, y in points if y >= middle) - self.begin, base, max(high)

    def early_fall(self, role: str) -> int | None:
        """Iteration in the phase by which evaluations saw half of a fall, if that was early."""
        points, before = self.measured(role), self.value(role, self.before)
        if len(points) < 4 or before is None:
            return None
        lowest = min(y for _, y in points)
        place = next(x for x, y in points if y <= (before + lowest) / 2 or y == lowest)
        return place - self.begin if place - self.begin <= EARLY * self.length else None

    @property
    def hit_unit(self) -> str:
        """Of what the bound is asked: a batch is at it or not, of its samples a share is."""
        whole = all(y in (0, 1) for _, y in self.logged('forget/bound_hit'))
        return 'batches' if whole else 'forget samples'

    def hits(self) -> float | None:
        """Share at the bound, in the second half of the phase; None if unknown."""
        found = [y for _, y in self.logged('forget/bound_hit')]
        return statistics.mean(found[len(found) // 2 :]) if len(found) >= 4 else None


def still_falling(points: Sequence[tuple[int, float]]) -> tuple[float, float] | None:
    """Means of the last two quarters of a curve that is not at rest at its end; else None.

    It falls from one to the other by more than twice the error of the two means, and by more than
    :data:`MOVING` of the way since the first quarter. Too few points say nothing.
    """
    values = [y for _, y in points]
    if len(values) < ENOUGH:
        return None
    size = len(values) // 4
    first, third, last = values[:size], values[-2 * size : -size], values[-size:]
    fall = statistics.mean(third) - statistics.mean(last)
    error = math.hypot(statistics.stdev(third), statistics.stdev(last)) / math.sqrt(size)
    whole = statistics.mean(first) - statistics.mean(last)
    if whole <= 0 or fall <= max(2 * error, MOVING * whole):
        return None
    return statistics.mean(third), statistics.mean(last)


def _number(value: Any) -> float | None:
    """What a file has as a number; None for anything else, NaN among it."""
    good = type(value) in (int, float) and math.isfinite(value)
    return float(value) if good else None
