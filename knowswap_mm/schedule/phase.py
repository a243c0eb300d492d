"""One phase of a swap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from knowswap_mm.roles import FORGET, LEARN, RETAIN

#: The roles that each kind of phase draws from, the primary ones first.
PHASE_KINDS: dict[str, tuple[str, ...]] = {
    'learn': (LEARN, RETAIN),
    'forget': (FORGET, RETAIN),
    'joint': (LEARN, FORGET, RETAIN),
    'expand': (LEARN, RETAIN),
}


def phase_name(index: int, kind: str) -> str:
    """What a phase is called, e.g. ``phase1_learn`` for the first one, whose ``index`` is 0."""
    return f'phase{index + 1}_{kind}'


@dataclass(frozen=True)
class Segment:
    """A run of iterations within a phase, with a learning rate schedule of its own.

    Attributes:
        begin (int): First iteration, counted over the whole run.
        length (int): Number of iterations.
        lr_factor (float): Factor on the base learning rate with which its schedule starts.
    """

    begin: int
    length: int
    lr_factor: float

    @property
    def end(self) -> int:
        """First iteration after the segment."""
        return self.begin + self.length


@dataclass(frozen=True)
class SwapPhase:
    """A resolved phase: a span of iterations with one objective.

    Attributes:
        index (int): Position in the schedule, from 0.
        kind (str): ``learn``, ``forget``, ``joint`` or ``expand``.
        begin (int): First iteration of the phase, counted over the whole run.
        length (int): Number of iterations.
        epoch_length (int | None): Iterations of one epoch of the phase's epoch role; schedulers
            with ``by_epoch=True`` step at its multiples. None if the length is in iterations.
        split (dict[str, int]): Samples per role in a batch of all processes together.
        weights (dict[str, float]): Loss weights ``learn``, ``retain``, ``forget``, ``sparsity``.
        bound (float): The forget term is zero once the forget loss reaches it (nats, or the unit
            of the host's loss); infinite if there is none.
        merge_learned (bool): Whether learn data joins the retain set.
        merged_share (float | None): Share of the retain slots that learn data takes; None draws
            in proportion to the sizes of the sets, as the paper does.
        restart_lr (bool): Whether the learning rate schedule starts anew.
        restart_optimizer (bool): Whether the optimizer state is dropped at the start.
        lr_factor (float): Factor on the base learning rate.
        param_scheduler (tuple[dict, ...] | None): Own schedulers; None uses the run's.
        later_segments (tuple[Segment, ...]): What decisions made of the end of the phase; the
            learning rate schedule starts anew in each.
    """

    index: int
    kind: str
    begin: int
    length: int
    epoch_length: int | None
    split: dict[str, int]
    weights: dict[str, float]
    bound: float
    merge_learned: bool
    merged_share: float | None
    restart_lr: bool
    restart_optimizer: bool
    lr_factor: float
    param_scheduler: tuple[dict[str, Any], ...] | None
    later_segments: tuple[Segment, ...] = ()

    @property
    def end(self) -> int:
        """First iteration after the phase."""
        return self.begin + self.length

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The segments in order, without gaps; one if nothing was decided.

        The first goes on with the schedule of the phase before if ``restart_lr`` is False.
        """
        end = self.later_segments[0].begin if self.later_segments else self.end
        return (Segment(self.begin, end - self.begin, self.lr_factor), *self.later_segments)

    def segment_at(self, iteration: int) -> Segment:
        """Segment of an iteration; the first one before the phase, the last one behind it."""
        begun = [each for each in self.segments if each.begin <= iteration]
        return begun[-1] if begun else self.segments[0]

    @property
    def name(self) -> str:
        """Name for files and tables, e.g. ``phase1_learn``."""
        return phase_name(self.index, self.kind)

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles that occur in a batch of the phase."""
        return tuple(role for role, count in self.split.items() if count > 0)

    @property
    def batch_size(self) -> int:
        """Samples in a batch of all processes together."""
        return sum(self.split.values())
