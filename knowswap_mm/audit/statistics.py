"""What an attack says about forgetting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import scipy  # its parts are imported when they are used


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % confidence interval."""

    value: float
    low: float
    high: float

    @classmethod
    def exact(cls, value: float) -> Estimate:
        """A number without uncertainty, such as a chance level."""
        return cls(value, value, value)

    @classmethod
    def of_share(cls, hits: Sequence[bool] | np.ndarray) -> Estimate:
        """A share of independent trials (at least one), with Wilson's interval."""
        hits = np.asarray(hits, dtype=bool)
        found = scipy.stats.binomtest(int(hits.sum()), len(hits)).proportion_ci(method='wilson')
        return cls(float(hits.mean()), float(found.low), float(found.high))

    @classmethod
    def of_mean(cls, values: Sequence[float]) -> Estimate:
        """A mean over repeated runs, with Student's interval; one run alone has no interval."""
        values = np.asarray(values, dtype=float)
        mean = float(values.mean())
        if len(values) < 2:
            return cls(mean, -math.inf, math.inf)
        half = float(scipy.stats.t.ppf(0.975, len(values) - 1) * scipy.stats.sem(values))
        return cls(mean, mean - half, mean + half)

    @classmethod
    def of_draws(cls, shares: Sequence[float], trials: int) -> Estimate:
        """The mean of shares of the same ``trials``, found with several draws of something else.

        Its interval joins Wilson's of the trials and that of the mean over the draws.
        """
        mean = float(np.mean(shares))
        drawn = cls.of_share(np.arange(trials) < round(mean * trials))
        spread = float(np.std(shares, ddof=1) if len(shares) > 1 else 0) / math.sqrt(len(shares))
        found = cls(mean, min(drawn.low, mean), max(drawn.high, mean))
        return found.widened(float(scipy.stats.norm.ppf(0.975)) * spread)

    def widened(self, half: float) -> Estimate:
        """With an independent source of error added to both sides."""
        low, high = self.value - self.low, self.high - self.value
        return Estimate(
            self.value, self.value - math.hypot(low, half), self.value + math.hypot(high, half)
        )

    def minus(self, other: Estimate) -> Estimate:
        """Difference of two independent estimates.

        The interval joins the two intervals by squares (Newcombe 1998, method 10), which keeps
        their asymmetry.
        """
        value = self.value - other.value
        low = math.hypot(self.value - self.low, other.high - other.value)
        high = math.hypot(self.high - self.value, other.value - other.low)
        return Estimate(value, value - low, value + high)

    def __str__(self) -> str:
        if self.low == self.high:
            return f'{self.value:.3f}'
        return f'{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]'


def mean_of_references(estimates: Sequence[Estimate]) -> Estimate:
    """One estimate of several models that were trained alike.

    With two models or more, their spread is added to the interval, as for the prediction of one
    further model: another training would not give exactly the same number. (A normal prediction
    interval; Student's would be several times as wide with the two or three models that one has.)
    """
    values = np.array([estimate.value for estimate in estimates])
    count = len(values)
    low = math.sqrt(sum((e.value - e.low) ** 2 for e in estimates)) / count
    high = math.sqrt(sum((e.high - e.value) ** 2 for e in estimates)) / count
    mean = float(values.mean())
    joined = Estimate(mean, mean - low, mean + high)
    if count == 1:
        return joined
    spread = float(values.std(ddof=1)) * math.sqrt(1 + 1 / count)
    return joined.widened(float(scipy.stats.norm.ppf(0.975)) * spread)


#: Differences below this are nothing where the original model itself shows none.
SMALLEST = 0.02


class Verdict(str, Enum):
    """Outcome of an attack on the forgotten classes.

    ``recognisable`` is the outcome of a comparison with references: the model differs from them, by
    something else than what it knows of the classes.
    """

    RECOVERED = 'recovered'
    NOT_RECOVERED = 'not recovered'
    OVER_FORGOTTEN = 'over-forgotten'
    RECOGNISABLE = 'recognisable'
    UNCLEAR = 'unclear'
    NO_POWER = 'no power'
    NOT_APPLICABLE = 'not applicable'

    def __str__(self) -> str:
        return self.value

    @classmethod
    def judge(
        cls, after: Estimate, floor: Estimate | None, before: Estimate, margin: float = 0.1
    ) -> Verdict:
        """Compare a statistic, of which more means more knowledge, with both ends of its scale.

        The scale runs from the floor (a model that never saw the classes, or chance) to the model
        before the swap; the margin is a share of it.

        - ``recovered``: surely more than the margin above the floor;
        - ``over-forgotten``: surely more than the margin below it, which marks the classes as
          surely as knowledge does;
        - ``not recovered``: surely less than the margin above it;
        - ``unclear``: the interval allows both, or there is no floor to compare with;
        - ``no power``: the attack cannot tell the model before the swap from the floor either, so
          that its silence says nothing; or the difference has no bound on either side.
        """
        if floor is None:
            return cls.UNCLEAR
        scale = before.minus(floor)
        powerful = scale.low > 0
        tolerated = margin * scale.value if powerful else SMALLEST
        above = after.minus(floor)
        if math.isinf(above.low) and math.isinf(above.high):
            return cls.NO_POWER
        if above.low > tolerated:
            return cls.RECOVERED
        if above.high < -tolerated:
            return cls.OVER_FORGOTTEN
        if not powerful:
            return cls.NO_POWER
        return cls.NOT_RECOVERED if above.high <= tolerated else cls.UNCLEAR
