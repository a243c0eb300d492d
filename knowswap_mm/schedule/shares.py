"""How a batch of all processes is put together, and what each process has of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from knowswap_mm.roles import LEARN, RETAIN, ROLES
from knowswap_mm.schedule.phase import SwapPhase


@dataclass(frozen=True)
class Slot:
    """A run of samples of a batch.

    Attributes:
        role (str): Their role.
        sources (tuple[str, ...]): The role views they come from.
        count (int): How many there are, over all processes.
    """

    role: str
    sources: tuple[str, ...]
    count: int

    @property
    def pool(self) -> tuple[str, tuple[str, ...]]:
        """What they are drawn from."""
        return self.role, self.sources


def slots_of(phase: SwapPhase) -> list[Slot]:
    """The slots of a batch of all processes."""
    slots = []
    for role in ROLES:
        count = phase.split[role]
        if role == RETAIN and phase.merge_learned and phase.merged_share is not None:
            learned = round(phase.merged_share * count)
            slots += [Slot(role, (RETAIN,), count - learned), Slot(role, (LEARN,), learned)]
        elif role == RETAIN and phase.merge_learned:
            slots.append(Slot(role, (RETAIN, LEARN), count))
        else:
            slots.append(Slot(role, (role,), count))
    return [slot for slot in slots if slot.count]


def shares(slots: Sequence[Slot], rank: int, world_size: int) -> list[range]:
    """Which samples of each slot a process has, as positions within the slot.

    Each process has a run of neighbours, and all have the same number of samples in total. Where a
    slot cannot be shared evenly, some processes have one more of it; those that had fewer have one
    more of the next slot.
    """
    found, turn = [], 0
    for slot in slots:
        each, rest = divmod(slot.count, world_size)
        more = [(other - turn) % world_size < rest for other in range(world_size)]
        begin = rank * each + sum(more[:rank])
        found.append(range(begin, begin + each + more[rank]))
        turn = (turn + rest) % world_size
    return found


def role_counts(phase: SwapPhase, rank: int, world_size: int) -> dict[str, int]:
    """Samples of each role in the batch of a process; roles without any are left out."""
    slots, counts = slots_of(phase), {}
    for slot, share in zip(slots, shares(slots, rank, world_size), strict=True):
        if len(share):
            counts[slot.role] = counts.get(slot.role, 0) + len(share)
    return counts
