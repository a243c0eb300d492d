"""Processes meet however often each of them was started, or say who is missing."""

import os
import re
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from torch.distributed import TCPStore

from knowswap_mm.distributed.meeting import Meeting, meet
from knowswap_mm.errors import ConfigError, SwapError
from tests.helpers.processes import free_port

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def connect():
    """Opens connections to one store, as torchrun keeps one for all its starts."""
    port = int(free_port())
    master = TCPStore('127.0.0.1', port, is_master=True, wait_for_workers=False)
    yield lambda: TCPStore('127.0.0.1', port, is_master=False, timeout=timedelta(seconds=20))
    del master


class Process(threading.Thread):
    """A thread in the place of a process."""

    def __init__(self, connect, rank, world_size=2, seconds=20):
        super().__init__(daemon=True)
        self.broken, self.store, self.error = [], None, None
        self.meeting = Meeting(connect, rank, world_size, seconds, self.broken.append)
        self.start()

    def run(self):
        try:
            self.store = self.meeting.meet()
        except SwapError as error:
            self.error = str(error)

    def met(self):
        self.join(20)
        assert self.error is None and self.store is not None
        return self.meeting._group


def dies_after(connect, rank, key, world_size=2):
    """A process that says it is there, goes so far, and is gone."""
    meeting = Meeting(connect, rank, world_size, 20)
    meeting._store.set(f'at/{rank}', meeting._me)
    end = time.monotonic() + 20
    while key == 'agreed' and not meeting._group and time.monotonic() < end:
        meeting._follow()


def test_all_start_once(connect):
    processes = [Process(connect, rank, 3) for rank in (2, 0, 1)]
    assert len({process.met() for process in processes}) == 1
    processes[1].store.set('address', 'of rank 0')
    assert processes[2].store.get('address') == b'of rank 0'


@pytest.mark.parametrize('rank', [0, 1])
def test_one_dies_before_the_others_come(rank, connect):
    """Its machine has counted a restart, the other one has not."""
    dies_after(connect, rank, 'at')
    other = Process(connect, 1 - rank)
    time.sleep(0.5)
    assert other.is_alive()
    assert Process(connect, rank).met() == other.met()


def test_one_dies_after_it_agreed(connect):
    waiting = [Process(connect, rank, 3) for rank in (0, 1)]
    dies_after(connect, 2, 'at', 3)
    assert Process(connect, 2, 3).met() == waiting[0].met() == waiting[1].met()


def test_a_group_of_the_start_before_is_not_found(connect):
    first = [Process(connect, rank) for rank in (0, 1)]
    old = {process.met() for process in first}
    first[0].store.set('address', 'of the dead')
    for process in first:
        process.meeting.complete()
    again = [Process(connect, rank) for rank in (0, 1)]
    new = {process.met() for process in again}
    assert len(new) == 1 and new != old
    assert not again[1].store.check(['address'])


def test_one_that_is_replaced_before_the_group_is_complete_ends_the_others(connect):
    first = [Process(connect, rank) for rank in (0, 1)]
    assert first[0].met() == first[1].met()
    first[0].meeting.complete()  # rank 1 dies here, and comes again
    second = Process(connect, 1)
    end = time.monotonic() + 15
    while not first[0].broken and time.monotonic() < end:
        time.sleep(0.1)
    assert re.search(
        r'Rank 0 \(.*\) ends: the process of rank 1 \(.*process \d+\) died before all',
        first[0].broken[0],
    )
    assert Process(connect, 0).met() == second.met()  # torchrun starts it again


def test_nothing_is_watched_once_all_have_met(connect):
    first = [Process(connect, rank) for rank in (0, 1)]
    for process in first:
        process.met()
        process.meeting.complete()
    time.sleep(1.5)
    Process(connect, 1)
    time.sleep(1)
    assert first[0].broken == first[1].broken == []


def test_a_process_that_stops_once_it_has_found_the_others_has_said_so(connect, monkeypatch):
    """Its threads make no further step; the others must not wait for what they would say."""
    watch = Meeting._watch
    monkeypatch.setattr(Meeting, '_watch', lambda self: self.rank == 1 or watch(self))
    first = [Process(connect, rank, seconds=1) for rank in (0, 1)]
    for process in first:
        process.met()
        process.meeting.complete()
    time.sleep(2)
    assert first[0].broken == []


def test_who_does_not_come_is_named_in_time(connect):
    begin = time.monotonic()
    processes = [Process(connect, rank, 4, 1.5) for rank in (0, 2)]
    for process in processes:
        process.join(20)
    assert time.monotonic() - begin < 10
    pattern = r'Rank 0 \(.*, process \d+\) has waited \d+ s for rank 1, 3, which did not come'
    assert re.match(pattern, processes[0].error)
    assert 'There were: rank 0 (' in processes[0].error and 'rank 2 (' in processes[0].error
    assert 'config' not in processes[0].error.replace('env_cfg', '')


def test_where_they_meet_is_gone(connect):
    """Rank 0 held the store, and ended first."""
    process = Process(connect, 1)
    time.sleep(0.3)
    process.meeting._store = TornStore()
    process.join(20)
    assert re.match(r'Rank 1 \(.*\) waited for the others, and the process at', process.error)


class TornStore:
    """What a store does when its server is gone."""

    def check(self, keys):
        raise RuntimeError('Failed to recv, got 0 bytes.')


@pytest.mark.parametrize('name', ['RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'])
def test_a_process_that_no_launcher_started(name, monkeypatch):
    for each in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'):
        monkeypatch.setenv(each, '1')
    monkeypatch.delenv(name)
    with pytest.raises(ConfigError, match=f'launcher = .pytorch.: the variable {name} is not set'):
        meet(1)


def test_a_port_that_is_in_use(monkeypatch):
    port = free_port()
    other = TCPStore('127.0.0.1', int(port), is_master=True, wait_for_workers=False)
    variables = dict(RANK='0', WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
    monkeypatch.delenv('TORCHELASTIC_USE_AGENT_STORE', raising=False)
    for each, value in variables.items():
        monkeypatch.setenv(each, value)
    with pytest.raises(ConfigError, match=f'MASTER_PORT = {port}: .*set PORT'):
        meet(1)
    del other


WORKER = """
import os, sys
from pathlib import Path
from datetime import timedelta
mark = Path(sys.argv[1]) / 'died'
if os.environ['RANK'] == '1' and not mark.exists():
    mark.touch()
    os._exit(3)  # before it meets anybody
import torch
from knowswap_mm.distributed.meeting import meet
meeting, group = meet(100)
torch.distributed.init_process_group('gloo', timeout=timedelta(seconds=60), **group)
meeting.complete()
total = torch.ones(1)
torch.distributed.all_reduce(total)
restarts = os.environ['TORCHELASTIC_RESTART_COUNT']
(Path(sys.argv[1]) / os.environ['RANK']).write_text(f'{total.item():g} {restarts}')
"""


@pytest.mark.slow
@pytest.mark.distributed
def test_two_torchruns_of_which_one_counts_a_restart(tmp_path):
    """Its process dies before the group is formed; the other machine knows nothing of it."""
    (tmp_path / 'worker.py').write_text(WORKER)
    port, environment = free_port(), os.environ | dict(PYTHONPATH=str(REPOSITORY))
    nodes = [
        subprocess.Popen(
            [
                *(sys.executable, '-m', 'torch.distributed.run', '--nnodes=2', f'--node_rank={n}'),
                *('--master_addr=127.0.0.1', f'--master_port={port}', '--max_restarts=1'),
                *('--nproc_per_node=1', str(tmp_path / 'worker.py'), str(tmp_path)),
            ],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in (0, 1)
    ]
    said = [node.communicate(timeout=200)[1][-2000:] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    assert [(tmp_path / rank).read_text() for rank in '01'] == ['2 0', '2 1']
