"""What an attack says about forgetting."""

from __future__ import annotations

import math
from enum import Enum

from knowswap_mm.evaluation.audit.estimate import Estimate

#: Differences below this are nothing where the original model itself shows none.
SMALLEST = 0.02


class Verdict(str, Enum):
    """Outcome of an attack on the forgotten classes."""

    RECOVERED = 'recovered'
    NOT_RECOVERED = 'not recovered'
    OVER_FORGOTTEN = 'over-forgotten'
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
        before the swap.

        - ``recovered``: surely more than the margin above the floor;
        - ``over-forgotten``: surely more than the margin below it, which marks the classes as
          surely as knowledge does;
        - ``not recovered``: surely less than the margin above it;
        - ``unclear``: the interval allows both, or there is no floor to compare with;
        - ``no power``: the attack cannot tell the model before the swap from the floor either, so
          that its silence says nothing; or the difference has no bound on either side.

        Args:
            after (Estimate): The audited model.
            floor (Estimate | None): Models that never saw the classes, or chance; None if unknown.
            before (Estimate): The model before the swap.
            margin (float): Tolerated share of the scale.
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
