"""When a phase is looked at, and how much of what is held out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from knowswap_mm.datasets.holdout import LEAST
from knowswap_mm.roles import LEARN, RETAIN, ROLES
from knowswap_mm.schedule import SwapPhase

#: Iterations between two looks at least.
APART = 5
#: Images that are looked at, at most, as a share of those that the phase trains on.
COST = 0.1
#: With fewer looks a phase is looked at with fewer images instead.
_FEW = 4


@dataclass(frozen=True)
class LookPlan:
    """The checkpoints of a phase: a pure function of its base length.

    Attributes:
        every (int): Iterations between two looks; the end of the phase is looked at anyway.
        samples (dict[str, int]): By role how many held-out samples, the first ones, are looked at.
    """

    every: int
    samples: dict[str, int]

    def is_due(self, phase: SwapPhase, done: int) -> bool:
        """Whether a phase, as it stands now, is looked at after so many iterations of the run."""
        inside = phase.begin < done <= phase.end
        return inside and ((done - phase.begin) % self.every == 0 or done == phase.end)


def plan_looks(
    phase: SwapPhase, held_out: Mapping[str, int], looks: int, window: int = 1
) -> LookPlan | None:
    """Plan the looks of a phase so that they cost at most a tenth of its images.

    Looks become fewer first, down to four, then the images of each.

    Args:
        phase (SwapPhase): The phase as it was before anything was decided.
        held_out (Mapping[str, int]): Held-out samples by role.
        looks (int): So many looks are wanted, beside the one at the start.
        window (int): Iterations of a window of gradient accumulation, in which nobody looks.

    Returns:
        LookPlan | None: None if retain cannot be watched.
    """
    roles = {RETAIN, *phase.roles} | ({LEARN} if phase.merge_learned else set())
    found = {role: held_out.get(role, 0) for role in ROLES if role in roles}
    total, budget = sum(found.values()), COST * phase.length * phase.batch_size
    looks = max(min(looks, phase.length // APART), 1)
    while looks > _FEW and total * (looks + 1) > budget:
        looks -= 1
    share = min(budget / max(total * (looks + 1), 1), 1.0)
    samples = {role: int(share * n) for role, n in found.items() if int(share * n) >= LEAST}
    if RETAIN not in samples:
        return None
    every = -(-phase.length // looks)
    return LookPlan(-(-every // window) * window, samples)
