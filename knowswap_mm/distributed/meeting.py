"""Processes that find one another, however often each of them was started."""

from __future__ import annotations

import atexit
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from torch.distributed import PrefixStore, TCPStore

from knowswap_mm.errors import ConfigError, SwapError

#: Exit code of a process whose group lost a process before it was complete.
EXIT_CODE = 75
#: Seconds between two looks.
_PERIOD = 0.1
#: Seconds between two lines that say who is waited for.
_REMINDER = 60.0
_VARIABLES = ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')
#: The store must live as long as the process.
_stores: list[TCPStore] = []


class Meeting:
    """Agrees with the other processes of a launch on the group that they form.

    torchrun counts restarts on each machine for itself: if a process dies on one machine before
    the group is there, the processes of the other machines still wait where those of the first
    start were to meet, and nobody comes (issue 24). Here each process says in a store that it is
    there, under a name of its own. Rank 0 proposes a group of those that it sees, every one of
    them agrees, and only then they meet, at a place that only this group knows. If one of them is
    replaced before that, rank 0 proposes anew; if one is replaced after that and before the group
    is complete, the others end, and torchrun starts them again.

    Args:
        connect (Callable): Opens a connection to the store.
        rank (int): Rank of this process.
        world_size (int): Number of processes.
        seconds (float): How long they wait for one another.
        broken (Callable[[str], None] | None): Gets a message, in a thread, when the group lost a
            process before it was complete; by default the process ends with exit code 75.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        rank: int,
        world_size: int,
        seconds: float,
        broken: Callable[[str], None] | None = None,
    ) -> None:
        self.rank, self.world_size, self.seconds = rank, world_size, seconds
        self._connect, self._broken = connect, broken or _end
        self._store = PrefixStore(f'knowswap_mm/{world_size}', connect())
        self._me = f'{uuid.uuid4().hex} {socket.gethostname()} {os.getpid()}'
        self._proposed: list[str] = []
        self._number = 0
        self._group, self._members = '', [self._me]
        self._ended = threading.Event()

    def meet(self) -> PrefixStore:
        """Wait until all agree; returns where they exchange their addresses.

        Raises:
            SwapError: Names the ranks that did not come in time, and those that did with their
                machines.
        """
        try:
            return self._meet()
        except RuntimeError as error:  # of the store
            raise SwapError(
                f'Rank {self.rank} ({_machine(self._me)}) waited for the others, and the process '
                f'at MASTER_ADDR, where they meet, ended ({_first_line(error)}). Fix: see what '
                'rank 0, or its torchrun, said.'
            ) from error

    def _meet(self) -> PrefixStore:
        self._store.set(f'at/{self.rank}', self._me)
        began = reminded = time.monotonic()
        while not (self._lead() if self.rank == 0 else self._follow()):
            now = time.monotonic()
            if now - began > self.seconds:
                raise SwapError(self._who_is_missing(now - began))
            if now - reminded > _REMINDER:
                reminded = now
                print(self._who_is_missing(now - began, wait=True), file=sys.stderr, flush=True)
            time.sleep(_PERIOD)
        start_beside(self._watch, self._ended, 'meeting')
        return PrefixStore(f'group/{self._group}', self._connect())

    def complete(self) -> None:
        """Say that this process has found all others.

        At once and not in the thread that watches: the process may be stopped the next moment, and
        the others must not take that for a group that never came to be.
        """
        try:
            self._store.add(self._done, 1)
        except RuntimeError:  # the store is gone, and the launch with it
            return

    @property
    def _done(self) -> str:
        """Where those are counted that have found all others."""
        return f'done/{self._group}'

    def _lead(self) -> bool:
        present = self._present()
        if None in present:
            return False
        if present != self._proposed:
            self._number += 1
            self._proposed, self._group = present, f'{self._me.split()[0]}-{self._number}'
            self._store.set('proposal', json.dumps([self._group, present]))
        agreed = [f'agreed/{self._group}/{rank}' for rank in range(1, self.world_size)]
        # Looked at once more at the end: one that agreed may have been replaced meanwhile.
        if not all(self._store.check([key]) for key in agreed) or self._present() != present:
            return False
        self._members = present
        self._store.set(f'go/{self._group}', '')
        return True

    def _follow(self) -> bool:
        proposal = self._get('proposal')
        group, members = json.loads(proposal) if proposal else ('', [])
        if self.rank >= len(members) or members[self.rank] != self._me:
            return False
        if group != self._group:
            self._group, self._members = group, members
            self._store.set(f'agreed/{group}/{self.rank}', '')
        return self._store.check([f'go/{group}'])

    def _watch(self) -> None:
        """Until the group is complete, look whether one of its processes was replaced."""
        store = PrefixStore(f'knowswap_mm/{self.world_size}', self._connect())
        began = time.monotonic()
        while True:
            try:
                complete = store.add(self._done, 0) >= self.world_size
                changed = [r for r in range(self.world_size) if self._replaced(store, r)]
            except RuntimeError:  # the store is gone, and the launch with it
                return
            if complete:
                return
            if changed:
                who = ', '.join(f'{r} ({_machine(self._members[r])})' for r in changed)
                return self._broken(
                    f'Rank {self.rank} ({_machine(self._me)}) ends: the process of rank {who} died '
                    'before all processes had found one another, and was started again. They meet '
                    'anew if torchrun starts this one again, too (--max-restarts, MAX_RESTARTS).'
                )
            if time.monotonic() - began > self.seconds:
                return self._broken(
                    f'Rank {self.rank} ({_machine(self._me)}) ends: after {self.seconds:g} s not '
                    'all processes had found one another, although all were there. Fix: look at '
                    'the output of the others, and whether the machines reach one another.'
                )
            if self._ended.wait(5 * _PERIOD):
                return

    def _replaced(self, store: Any, rank: int) -> bool:
        return store.get(f'at/{rank}').decode() != self._members[rank]

    def _present(self) -> list[str | None]:
        return [self._get(f'at/{rank}') for rank in range(self.world_size)]

    def _get(self, key: str) -> str | None:
        return self._store.get(key).decode() if self._store.check([key]) else None

    def _who_is_missing(self, waited: float, wait: bool = False) -> str:
        present = self._present()
        missing = [str(rank) for rank, name in enumerate(present) if name is None]
        there = ', '.join(f'rank {r} ({_machine(n)})' for r, n in enumerate(present) if n)
        what = f'rank {", ".join(missing)}, which did not come' if missing else (
            'a process that came, and died before all had found one another'
        )  # fmt: skip
        text = f'Rank {self.rank} ({_machine(self._me)}) has waited {waited:.0f} s for {what}'
        if wait:
            return f'{text}. It goes on waiting, {self.seconds:g} s in all.'
        return (
            f'{text}. There were: {there}. Fix: look at the output on the machines of the others; '
            'start all of them with the same MASTER_ADDR, MASTER_PORT and number of processes; if '
            'they need longer to start, raise env_cfg.dist_cfg.timeout.'
        )


def meet(seconds: float) -> tuple[Meeting, dict[str, Any]]:
    """Meet the other processes that the environment (RANK, WORLD_SIZE, MASTER_ADDR) tells of.

    Returns the meeting, to be told when the group is there; and what ``init_process_group`` needs:
    ``store``, ``rank`` and ``world_size``.

    Raises:
        ConfigError: If a variable is missing, or the port is in use.
        SwapError: If not all come.
    """
    for name in _VARIABLES:
        if not os.environ.get(name):
            fix = 'start it with tools/dist_train.sh or torchrun, or use --launcher none'
            raise ConfigError('launcher', 'pytorch', f'the variable {name} is not set', fix)
    rank, world = int(os.environ['RANK']), int(os.environ['WORLD_SIZE'])
    address, port = os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT'])
    own = rank == 0 and os.environ.get('TORCHELASTIC_USE_AGENT_STORE') != 'True'

    def connect() -> TCPStore:
        try:
            store = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=seconds))
        except RuntimeError as error:
            raise SwapError(
                f'Rank {rank} ({socket.gethostname()}) did not reach rank 0 at {address}:{port} '
                f'within {seconds:g} s ({_first_line(error)}). Fix: look whether rank 0 runs, and '
                'whether MASTER_ADDR and MASTER_PORT are those of its machine.'
            ) from error
        _stores.append(store)
        return store

    if own:
        try:
            _stores.append(TCPStore(address, port, is_master=True, wait_for_workers=False))
        except RuntimeError as error:
            problem = f'cannot be used on {socket.gethostname()} ({_first_line(error)})'
            fix = 'another run may have it; set PORT (MASTER_PORT) to a free one on all machines'
            raise ConfigError('MASTER_PORT', port, problem, fix) from error
    meeting = Meeting(connect, rank, world, seconds)
    return meeting, dict(store=meeting.meet(), rank=rank, world_size=world)


def _machine(name: str) -> str:
    _, machine, number = name.split(' ')
    return f'{machine}, process {number}'


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _end(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
    os._exit(EXIT_CODE)


def start_beside(run: Callable[[], None], ended: threading.Event, name: str) -> None:
    """Start a thread beside the others of a process, which ends before the interpreter does.

    A thread that is inside a call of torch's store when the interpreter ends is torn down there,
    and the process aborts ("terminate called without an active exception", exit code -6), although
    its work was done.

    Args:
        run (Callable): What the thread does. It returns soon after ``ended`` was set.
        ended (Event): Is set when the process exits.
        name (str): Name of the thread.
    """
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()

    def end() -> None:
        ended.set()
        thread.join(10)  # a store whose machine is gone may not answer

    atexit.register(end)
