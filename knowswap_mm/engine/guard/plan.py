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
#: Looks inside a phase become fewer down to this, and then smaller.
_FEW = 3
#: Share of the cost that is meant for the start and the end of a phase, where it counts most.
_ENDS = 0.6


@dataclass(frozen=True)
class LookPlan:
    """The checkpoints of a phase: a pure function of its base length.

    Attributes:
        every (int): Iterations between two looks; the end of the phase is looked at anyway.
        ends (dict[str, int]): By role how many watched samples, the first ones, are looked at
            where the phase starts and ends.
        inside (dict[str, int]): The same for the looks between.
    """

    every: int
    ends: dict[str, int]
    inside: dict[str, int]

    def is_due(self, phase: SwapPhase, done: int) -> bool:
        """Whether a phase, as it stands now, is looked at after so many iterations of the run."""
        inside = phase.begin < done <= phase.end
        return inside and ((done - phase.begin) % self.every == 0 or done == phase.end)

    def samples(self, phase: SwapPhase, done: int) -> dict[str, int]:
        """By role how many watched samples are looked at then."""
        return self.ends if done in (phase.begin, phase.end) else self.inside


def plan_looks(
    phase: SwapPhase, watched: Mapping[str, int], looks: int, window: int = 1
) -> LookPlan | None:
    """Plan the looks of a phase so that they cost at most a tenth of its images.

    Looks become fewer first, then the images of each; most are looked at where it starts and ends.

    Args:
        phase (SwapPhase): The phase as it was before anything was decided.
        watched (Mapping[str, int]): Watched samples by role.
        looks (int): So many looks are wanted, beside the one at the start.
        window (int): Iterations of a window of gradient accumulation, in which nobody looks.

    Returns:
        LookPlan | None: None if retain cannot be watched.
    """
    roles = {RETAIN, *phase.roles} | ({LEARN} if phase.merge_learned else set())
    found = {role: watched.get(role, 0) for role in ROLES if role in roles}
    # How often all that is held out may be looked at.
    whole = COST * phase.length * phase.batch_size / max(sum(found.values()), 1)
    inner = max(min(looks, phase.length // APART), 1) - 1
    while inner > _FEW and inner + 2 > whole:
        inner -= 1
    ends = min(max(whole / (inner + 2), _ENDS * whole / 2), 1.0)
    inside = _share(found, min((whole - 2 * ends) / max(inner, 1), 1.0))
    if RETAIN not in inside:
        inner, inside, ends = 0, {}, min(whole / 2, 1.0)
    if RETAIN not in (at_ends := _share(found, ends)):
        return None
    every = -(-phase.length // (inner + 1))
    return LookPlan(-(-every // window) * window, at_ends, inside)


def _share(found: Mapping[str, int], share: float) -> dict[str, int]:
    """A share of the samples of each role; roles of which too few are left are left out."""
    return {role: int(share * n) for role, n in found.items() if int(share * n) >= LEAST}
