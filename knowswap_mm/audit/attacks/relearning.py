"""How soon the forgotten classes come back."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from knowswap_mm.audit.case import AuditPart, Case
from knowswap_mm.audit.data import TRAIN
from knowswap_mm.audit.findings import Finding, Table
from knowswap_mm.audit.models import Subject
from knowswap_mm.audit.probing import count_asked, named_beyond_chance
from knowswap_mm.audit.statistics import Estimate, Verdict
from knowswap_mm.checks import check_number, check_whole
from knowswap_mm.registry import AUDITS
from knowswap_mm.roles import FORGET, RETAIN

#: Half the largest distance between two looks, as a binary logarithm: log2(1.5) / 2.
_GRID = 0.3


@AUDITS.register_module()
class Relearning(AuditPart):
    """Is relearning the forgotten classes quicker than learning them anew?

    All weights of a copy of the model are trained (AdamW) on equal shares of forget and retain data
    until 90 % of the accuracy before the swap is regained, less the share of retained units that
    are called by a forgotten class, see :func:`named_beyond_chance`. The reference, which never saw
    the classes, learns them anew in the same way. The statistic is minus the binary logarithm of
    the steps: one more means half as many steps. A run that does not get there counts with the
    largest number of steps, and the interval is open below: it may have needed any number of
    further steps. If neither the audited model nor the reference gets there, the attack has no
    power.

    Attributes:
        name (str): Name of the attack.
        floor (str): What the floor is, for the remark.
        meaning (str): What it would mean if the classes came back sooner than to the reference.

    Args:
        lr (float): Learning rate.
        steps (int): Largest number of steps; the reference should get there.
        batch_size (int): Samples a step, half of them to forget.
        repeats (int): Runs with other orders of the data, for the interval; one alone has none.
        regained (float): Share of the accuracy before the swap.
        samples (int): Test samples of a role by which the accuracy is watched.

    Raises:
        ConfigError: If a number cannot be used.
    """

    name = 'relearning'
    floor = 'The floor is learning the classes anew.'
    meaning = (
        'whoever trains the model on for a short time has the forgotten classes back sooner than '
        'someone whose model never knew them'
    )

    def __init__(
        self,
        lr: float = 1e-4,
        steps: int = 256,
        batch_size: int = 32,
        repeats: int = 3,
        regained: float = 0.9,
        samples: int = 300,
    ) -> None:
        for name, value, check, *limits in (
            ('lr', lr, check_number, '> 0', 1e-4),
            ('steps', steps, check_whole, 1, 256),
            ('batch_size', batch_size, check_whole, 2, 32),
            ('repeats', repeats, check_whole, 1, 3),
            ('regained', regained, check_number, 'in (0, 1]', 0.9),
            ('samples', samples, check_whole, 1, 300),
        ):
            check(f'audit.parts.{type(self).__name__}.{name}', value, *limits)
        self.lr, self.steps, self.batch_size = lr, steps, batch_size
        self.repeats, self.regained, self.samples = repeats, regained, samples

    def run(self, case: Case) -> list[Finding | Table]:
        """Let all models relearn."""
        known = case.before.remembered(
            f'named of {self.samples}',
            lambda: named_beyond_chance(case.before.host, case, self.samples),
        )
        target = self.regained * known
        settings = (vars(self), case.seed, target)

        def steps_of(subject: Subject) -> list[int | None]:
            runs = range(self.repeats)
            return subject.remembered(
                f'steps, {self.name}, {settings}',
                lambda: [self._steps_of(subject, case, target, run) for run in runs],
            )

        finding = case.judged(
            self.name,
            'minus the binary logarithm of the steps to regain '
            f'{100 * self.regained:.0f} % of the old accuracy; one more: half as many',
            lambda subject: regained_after(steps_of(subject), self.steps),
            settings=settings,
            meaning=self.meaning,
        )
        counts = {name: steps_of(subject) for name, subject in case.named}
        finding.details |= dict(steps=counts, limit=self.steps)
        if case.references:
            remark = f'{self.floor}{self._open_ends(finding)} {finding.remark}'
            finding.remark = remark.strip()
        return [finding, self._table(case, counts, target)]

    def _open_ends(self, finding: Finding) -> str:
        """What follows from intervals without an end, and what would close them."""
        key, after, floor = f'audit.settings.{type(self).__name__}', finding.after, finding.floor
        if math.isinf(after.high) or math.isinf(floor.high):
            return f' One run has no interval: set {key}.repeats to 2 or more.'
        late = [
            name
            for name, end in (('the audited model', after), ('learning anew', floor))
            if math.isinf(end.low)
        ]
        if not late:
            return ''
        text = f' Within {self.steps} steps not every run of {" and of ".join(late)} got there'
        if len(late) == 2:
            return f'{text}, so that they cannot be compared: raise {key}.steps (now {self.steps}).'
        times = 2 ** abs(after.value - floor.value)
        slower = (after.value < floor.value) == (late == ['the audited model'])
        if slower and times > 1:
            text += f': it takes at least {times:.1f} times as long as the other'
        if finding.verdict is Verdict.UNCLEAR:
            text += f'; raise {key}.steps (now {self.steps}) to tell'
        return f'{text}.'

    def _table(self, case: Case, counts: dict[str, list[int | None]], target: float) -> Table:
        available = len(case.data.positions(TRAIN, FORGET))
        rows = []
        for name, steps in counts.items():
            median = float(np.median([math.inf if n is None else n for n in steps]))
            seen = None
            if math.isfinite(median):
                seen = min(math.ceil(median * (self.batch_size // 2)), available)
            shown = ', '.join(f'more than {self.steps}' if n is None else str(n) for n in steps)
            rows.append([name, shown, seen])
        return Table(
            f'Steps to relearn{self.name.removeprefix("relearning")}',
            f'Steps until {100 * target:.1f} % of the forgotten test {case.reader.unit}s are named '
            'beyond the share of retained ones that are called like them '
            f'(checked after 1, 2, 3, 4, 6, 8, 12, ... steps of {self.batch_size} samples), and '
            'different samples of the forget set seen by the median run.',
            ['model', 'steps of each run', 'samples'],
            rows,
        )

    def _steps_of(self, subject: Subject, case: Case, target: float, repeat: int) -> int | None:
        """Steps until the target is reached; None if it is not."""

        def reached(host: nn.Module) -> bool:
            return named_beyond_chance(host, case, self.samples) >= target

        host = self._prepared(subject, case, repeat)
        if reached(host):
            return 0
        host.requires_grad_(True)
        optimizer = torch.optim.AdamW([p for p in host.parameters() if p.requires_grad], lr=self.lr)
        roles = [role for role in (FORGET, RETAIN) if role in case.data.roles(TRAIN)]
        draws = {role: self._draws(case, role, repeat) for role in roles}
        watched = set(watch_points(self.steps))
        torch.manual_seed(case.seed + repeat)
        for step in range(1, self.steps + 1):
            positions = [next(draws[role]) for role in draws for _ in range(self.batch_size // 2)]
            (batch,) = case.data.batches(TRAIN, positions, len(positions))
            host.train()
            data = host.data_preprocessor(batch, True)
            loss, _ = host.parse_losses(host.loss(data['inputs'], data['data_samples']))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            host.eval()
            if step in watched and reached(host):
                return step
        return None

    def _prepared(self, subject: Subject, case: Case, repeat: int) -> nn.Module:
        """A copy of the model, in evaluation mode, with which a run begins."""
        return copy.deepcopy(subject.host).eval()

    def images(self, case: Case) -> int:
        """All steps of all runs, and the looks."""
        looks = 1 + len(watch_points(self.steps))
        run = self.steps * self.batch_size + looks * count_asked(case, self.samples)
        return len(case.subjects) * self.repeats * run

    @staticmethod
    def _draws(case: Case, role: str, repeat: int) -> Iterator[int]:
        positions = case.data.positions(TRAIN, role)
        rng = np.random.default_rng([case.seed, repeat, sorted((FORGET, RETAIN)).index(role)])
        while True:
            yield from (positions[i] for i in rng.permutation(len(positions)))


def regained_after(steps: Sequence[int | None], limit: int) -> Estimate:
    """Mean over the runs of minus the binary logarithm of the steps, each with one added.

    The steps are known up to the distance between two looks. With a run that did not get there
    (None) the mean is an upper bound, so that the interval has no lower end.
    """
    if not any(count is None or count > 0 for count in steps):  # nothing was to be regained
        return Estimate.exact(0.0)
    counted = [limit if count is None else count for count in steps]
    found = Estimate.of_mean([-math.log2(count + 1) for count in counted]).widened(_GRID)
    return replace(found, low=-math.inf) if None in steps else found


def watch_points(last: int) -> list[int]:
    """Steps after which the accuracy is looked at: powers of two and the middles between them."""
    points = {last}
    power = 1
    while power <= last:
        points.update({power, power + power // 2})
        power *= 2
    return sorted(point for point in points if point <= last)
