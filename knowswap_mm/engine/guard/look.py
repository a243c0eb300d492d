"""What a look at watched samples found, and how two looks differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Losses of a role: by watched sample and class the mean over its objects and layers, in nats.
Nats = dict[tuple[int, int], float]


@dataclass(frozen=True)
class Look:
    """The losses of the watched samples in one state of a phase.

    Attributes:
        at (int): Iterations of the run that are behind the state.
        rate (float): Learning rate with which the schedule starts that the next iteration is under.
        settled (bool): Whether the learning rate is low, or none of a schedule.
        nats (dict[str, Nats]): Losses by role.
    """

    at: int
    rate: float
    settled: bool
    nats: dict[str, Nats]

    def mean(self, role: str) -> float:
        """Mean loss of a role, over its samples and classes."""
        return float(np.mean(list(self.nats[role].values())))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        rows = {
            role: [[*key, value] for key, value in found.items()]
            for role, found in self.nats.items()
        }
        return dict(at=self.at, rate=self.rate, settled=self.settled, nats=rows)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Look:
        """Read what :meth:`to_dict` gave."""
        nats = {
            str(role): {(int(i), int(label)): float(value) for i, label, value in rows}
            for role, rows in data['nats'].items()
        }
        return cls(int(data['at']), float(data['rate']), bool(data['settled']), nats)


@dataclass(frozen=True)
class Change:
    """Mean of paired differences, in nats, and its standard error.

    One loss that is not finite makes the mean infinite, without a doubt.
    """

    mean: float
    error: float

    @classmethod
    def of(cls, before: Nats, after: Nats, ceiling: float | None = None) -> Change:
        """How losses changed, sample by sample.

        Args:
            before (Nats): Losses of a role.
            after (Nats): Losses of the same role later.
            ceiling (float | None): Losses above it count as this.
        """
        keys = [key for key in before if key in after]
        pair = np.array([[before[key], after[key]] for key in keys], dtype=float).reshape(-1, 2)
        pair = pair if ceiling is None else np.minimum(pair, ceiling)
        if not np.isfinite(pair).all():
            return cls(float('inf'), 0.0)
        difference = pair[:, 1] - pair[:, 0]
        if len(difference) < 2:
            return cls(0.0, float('inf'))
        error = float(difference.std(ddof=1)) / len(difference) ** 0.5
        return cls(float(difference.mean()), error)

    @classmethod
    def total(cls, parts: Iterable[Change]) -> Change:
        """The sum of changes of different samples."""
        parts = list(parts)
        error = float(sum(each.error**2 for each in parts)) ** 0.5
        return cls(sum(each.mean for each in parts), error)

    def __neg__(self) -> Change:
        return Change(-self.mean, self.error)

    def exceeds(self, limit: float) -> bool:
        """Whether the losses rose by more than ``limit`` beyond doubt: two standard errors."""
        return self.mean - 2 * self.error > limit
