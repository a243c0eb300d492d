"""The sampler that serves batches of learn, forget and retain samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from typing import NamedTuple

import numpy as np
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from knowswap_mm.datasets.role_view import RoleView
from knowswap_mm.datasets.seeding import derive_seed
from knowswap_mm.errors import ConfigError
from knowswap_mm.registry import DATA_SAMPLERS
from knowswap_mm.schedule import SwapPhase, SwapSchedule
from knowswap_mm.schedule.shares import Slot, shares, slots_of


class SampleAddress(NamedTuple):
    """One draw of the sampler.

    Attributes:
        role (str): Role that the sample plays in its batch.
        source (str): Role view that the sample is taken from; differs from ``role`` only for
            learned samples that were merged into the retain set.
        index (int): Index in that view.
        draw (int): Number of the draw from its pool, counted over all processes and the whole
            run; with the seed it fixes the augmentation.
        phase (int): Index of the phase.
    """

    role: str
    source: str
    index: int
    draw: int
    phase: int


@DATA_SAMPLERS.register_module()
class SwapSampler(Sampler):
    """Endless stream of addresses; every ``batch_size`` consecutive ones are a process's batch.

    Each pool of samples (a role's view, or retain together with learned data) is a sequence of
    seeded permutations. The k-th draw of a pool is a pure function of the seed and k, and k is a
    pure function of the iteration, so :meth:`skip` takes constant time and the stream does not
    depend on how the draws of an iteration are shared among the processes: two processes with half
    the batch see what one process would see. The split of the phase is that of all processes
    together, see :func:`~knowswap_mm.schedule.shares.shares`.

    Args:
        dataset (Sized): The role data set, which the data loader passes; only looked at for images
            that were left out.
        schedule (SwapSchedule): The schedule; the runner fills it in.
        seed (int): Seed of the permutations.
        rank (int | None): Rank of the process; None asks the process group.
        world_size (int | None): Number of processes; None asks the process group.

    Raises:
        ConfigError: If there is no schedule, or too few images are left of a role.
    """

    def __init__(
        self,
        dataset: Sized | None = None,
        schedule: SwapSchedule | None = None,
        seed: int | None = 0,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        if schedule is None:
            fix = "set runner_type = 'knowswap_mm.SwapRunner', which resolves it from swap"
            raise ConfigError('train_dataloader.sampler.schedule', None, 'no schedule', fix)
        current_rank, current_world = get_dist_info()
        self.schedule = schedule
        self.seed = 0 if seed is None else seed
        self.rank = current_rank if rank is None else rank
        self.world_size = current_world if world_size is None else world_size
        #: Samples of an iteration in one process.
        self.batch_size = schedule.phases[0].batch_size // self.world_size
        self._start = 0
        self._permutations: dict[tuple, tuple[int, np.ndarray]] = {}
        self._check_rest(getattr(dataset, 'views', {}))

    def _check_rest(self, views: Mapping[str, RoleView]) -> None:
        """Refuse roles of which so much was left out that a batch repeats what is left."""
        for phase in self.schedule.phases:
            for slot in slots_of(phase):
                view = views.get(slot.role)
                if view is None or view.counts is None or slot.sources != (slot.role,):
                    continue
                gone = sum(view.counts.left_out.values())
                rest = view.counts.to_dict()['images'] - gone
                if rest < slot.count <= rest + gone:
                    problem = f'{rest} images are left and {gone} left out, and a batch of phase '
                    problem += f'{phase.index + 1} takes {slot.count}'
                    mixed = getattr(view, 'mixed', None)
                    fix = 'leave fewer out (see the log for the reasons), or add images'
                    raise ConfigError(f'{view.key}.mixed', mixed, problem, fix)

    def __len__(self) -> int:
        """Samples of the whole run in one process."""
        return self.schedule.total * self.batch_size

    def skip(self, num_samples: int) -> None:
        """Start the next iteration behind so many samples (iterations times batch size)."""
        self._start += num_samples

    def __iter__(self) -> Iterator[SampleAddress]:
        iteration, offset = divmod(self._start, self.batch_size)
        self._start = 0
        while True:
            yield from self.batch(iteration)[offset:]
            iteration, offset = iteration + 1, 0

    def batch(self, iteration: int) -> list[SampleAddress]:
        """Addresses of one iteration for this process, grouped by role.

        Args:
            iteration (int): Iteration of the run, from 0; the last phase goes on after its end.
        """
        phase = self.schedule.phase_at(iteration)
        slots, addresses = slots_of(phase), []
        own = shares(slots, self.rank, self.world_size)
        for slot, share in zip(slots, own, strict=True):
            first = self._draws_before(phase, slot) + (iteration - phase.begin) * slot.count
            for draw in range(first + share.start, first + share.stop):
                source, index = self._locate(slot, draw)
                addresses.append(SampleAddress(slot.role, source, index, draw, phase.index))
        return addresses

    def _draws_before(self, phase: SwapPhase, slot: Slot) -> int:
        """Draws that earlier phases, on all processes, made from the slot's pool."""
        draws = 0
        for earlier in self.schedule.phases[: phase.index]:
            for other in slots_of(earlier):
                if other.pool == slot.pool:
                    draws += earlier.length * other.count
        return draws

    def _locate(self, slot: Slot, draw: int) -> tuple[str, int]:
        sizes = [self.schedule.role_sizes[source] for source in slot.sources]
        epoch, offset = divmod(draw, sum(sizes))
        index = int(self._permutation(slot, epoch, sum(sizes))[offset])
        source = 0
        while index >= sizes[source]:
            index -= sizes[source]
            source += 1
        return slot.sources[source], index

    def _permutation(self, slot: Slot, epoch: int, size: int) -> np.ndarray:
        cached = self._permutations.get(slot.pool)
        if cached is None or cached[0] != epoch:
            seed = derive_seed('order', self.seed, slot.role, *slot.sources, epoch)
            cached = (epoch, np.random.default_rng(seed).permutation(size))
            self._permutations[slot.pool] = cached
        return cached[1]
