"""Processes that tell one another how far they are."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from torch.distributed import TCPStore

from knowswap_mm.distributed.meeting import start_beside
from knowswap_mm.distributed.process_group import of_rank_0

#: Beats within a timeout.
_BEATS = 10


class Heartbeat(threading.Thread):
    """A thread that notices when this process waits too long for another one, and for which.

    The thread writes to a store of its own, held by rank 0, that it is alive and how many steps the
    process has made. When those have not changed for ``seconds`` it compares: a rank whose beats
    have stopped does not answer (it is stopped, dead, or cut off); one with fewer steps is behind.

    Args:
        rank (int): Rank of the process.
        world_size (int): Number of processes.
        seconds (float): Seconds without a step after which the process is stalled.
        stalled (Callable[[str], None]): Gets the message about it, in the thread.

    Attributes:
        in_doubt (bool): Whether it is finding out who is missing.
    """

    def __init__(
        self, rank: int, world_size: int, seconds: float, stalled: Callable[[str], None]
    ) -> None:
        super().__init__(name='heartbeat', daemon=True)
        self.rank, self.world_size, self.seconds, self.stalled = rank, world_size, seconds, stalled
        self.period = min(max(seconds / _BEATS, 0.1), 10.0)
        self.steps, self.place = 0, 'the start'
        self.in_doubt = False
        self._ended = threading.Event()
        self._store = self._connect()

    def _connect(self) -> TCPStore:
        address, wait = os.environ.get('MASTER_ADDR', '127.0.0.1'), timedelta(seconds=30)
        store = None
        if self.rank == 0:
            store = TCPStore(address, 0, is_master=True, wait_for_workers=False, timeout=wait)
        port = of_rank_0(store.port if store else None)
        if store is None:
            store = TCPStore(address, port, is_master=False, wait_for_workers=False, timeout=wait)
        store.set_timeout(timedelta(seconds=max(2 * self.period, 1)))
        return store

    def step(self, place: str) -> None:
        """Note that the process came to another place, as all of them do in the same order."""
        self.place = place
        self.steps += 1

    def end(self) -> None:
        """Stop watching."""
        self._ended.set()

    def run(self) -> None:
        """Watch until the end, or until the process is stalled."""
        # What talks to the store may have to wait for rank 0 forever; this thread never does.
        start_beside(self._beat, self._ended, 'heartbeat-notes')
        last, since = -1, time.monotonic()
        while not self._ended.wait(self.period):
            if self.steps != last:
                last, since = self.steps, time.monotonic()
            elif time.monotonic() - since >= self.seconds:
                self.in_doubt = True
                message = self._find_out()
                if self.steps == last and not self._ended.is_set():
                    self.stalled(message)
                    return
                self.in_doubt = False

    def _beat(self) -> None:
        beats = 0
        while not self._ended.wait(self.period):
            beats += 1
            try:
                self._store.set(f'rank{self.rank}', f'{beats} {self.steps} {self.place}')
            except RuntimeError:  # rank 0 may have ended already, or be what does not answer
                continue

    def _find_out(self) -> str:
        found: list[str] = []
        asking = threading.Thread(target=lambda: found.append(self._diagnosis()), daemon=True)
        asking.start()
        asking.join((_BEATS + 2 * self.world_size) * self.period + 2)
        return found[0] if found else self._no_notes()

    def _no_notes(self) -> str:
        return self._message('rank 0 does not answer', "it holds everybody's notes")

    def _read(self, rank: int) -> tuple[int, int, str] | None:
        try:
            beats, steps, place = self._store.get(f'rank{rank}').decode().split(' ', 2)
        except RuntimeError:
            return None
        return int(beats), int(steps), place

    def _diagnosis(self) -> str:
        others = [rank for rank in range(self.world_size) if rank != self.rank]
        if self.rank and self._read(0) is None:
            return self._no_notes()
        before = {rank: self._read(rank) for rank in others}
        self._ended.wait(3 * self.period)
        after = {rank: self._read(rank) for rank in others}
        silent = [r for r in others if after[r] is None or after[r] == before[r]]
        if silent:
            return self._message(
                f'{_ranks(silent)} does not answer', 'stopped, dead or cut off from the network'
            )
        furthest = max(self.steps, *(steps for _, steps, _ in after.values()))
        behind = [r for r in others if after[r][1] < furthest]
        places = '; '.join(f'rank {r} is at {after[r][2]}' for r in behind)
        if self.steps < furthest:
            return self._message(f'rank {self.rank}, this one, is behind', 'the others wait for it')
        if behind:
            return self._message(f'{_ranks(behind)} is behind', places)
        return self._message('all ranks are at the same place', 'see their stacks')

    def _message(self, what: str, why: str) -> str:
        return (
            f'Rank {self.rank} made no step for {self.seconds:g} s at {self.place}: {what} '
            f'({why}). It ends now; go on with --resume. Fix: look at that rank and its machine; '
            'if a step may take so long, raise env_cfg.dist_cfg.timeout.'
        )


def _ranks(ranks: list[int]) -> str:
    return f'rank {", ".join(map(str, ranks))}'
