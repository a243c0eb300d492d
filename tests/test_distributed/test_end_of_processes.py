"""What a run starts ends with it."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from knowswap_mm.distributed.ends import die_with_launcher
from tests.helpers.doc_blocks import REPOSITORY
from tests.helpers.processes import free_port
from tests.helpers.swap_configs import learn, swap_config, train, write_config

LINUX = pytest.mark.skipif(not sys.platform.startswith('linux'), reason='prctl is of Linux')
#: Starts a child as torchrun does, in a session of its own, and says its number.
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, '-c', sys.argv[1]], start_new_session=True,
                         stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""
CHILD = """
import os, time
time.sleep(float(os.environ.get('LATE', 0)))
from knowswap_mm.distributed.ends import die_with_launcher
die_with_launcher()
print('ready', flush=True)
time.sleep(60)
"""


def lives(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    # One that is dead, but not yet taken note of by the process that inherited it, does not live.
    with open(f'/proc/{number}/stat') as file:
        return file.read().rsplit(')', 1)[1].split()[0] != 'Z'


def dies(number, seconds):
    end = time.monotonic() + seconds
    while lives(number) and time.monotonic() < end:
        time.sleep(0.1)
    return not lives(number)


@LINUX
@pytest.mark.parametrize('launched', [True, False])
def test_a_process_dies_with_the_torchrun_that_started_it(launched):
    environment = {k: v for k, v in os.environ.items() if k != 'TORCHELASTIC_RUN_ID'}
    if launched:
        environment['TORCHELASTIC_RUN_ID'] = 'none'
    parent = subprocess.Popen(
        [sys.executable, '-c', PARENT, CHILD],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env=environment,
    )
    child = int(parent.stdout.readline())
    try:
        parent.kill()
        parent.wait()
        assert dies(child, 10 if launched else 0.5) == launched
    finally:
        if lives(child):
            os.kill(child, signal.SIGKILL)


@LINUX
def test_a_process_that_is_late_sees_that_its_torchrun_is_gone():
    """It was still importing when that was killed."""
    script = 'import os\nif os.fork(): os._exit(0)\nos.setsid()\n' + CHILD
    done = subprocess.run(
        [sys.executable, '-c', script],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=60,
        env=os.environ | dict(TORCHELASTIC_RUN_ID='none', LATE='1'),
    )
    assert 'ready' not in done.stdout + done.stderr


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setenv('TORCHELASTIC_RUN_ID', 'none')
    monkeypatch.setattr(sys, 'platform', 'darwin')
    monkeypatch.setattr('ctypes.CDLL', lambda *_, **__: pytest.fail('not here'))
    die_with_launcher()


def started(command, tmp_path, **variables):
    """A process, with all that it started, once it trains."""
    with (tmp_path / 'output.txt').open('w') as output:
        process = subprocess.Popen(
            command, env=os.environ | variables, cwd=REPOSITORY, stdout=output, stderr=output
        )
    end = time.monotonic() + 150
    while 'Iter(train)' not in (said := (tmp_path / 'output.txt').read_text()):
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            pytest.fail(said[-3000:])
        time.sleep(0.5)
    return process, [child for child in descendants(process.pid)]


def descendants(number):
    found = subprocess.run(
        ['pgrep', '-P', str(number)], capture_output=True, text=True, check=False
    ).stdout.split()
    return [each for child in found for each in (int(child), *descendants(child))]


@LINUX
@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize('ranks', [1, 2])
def test_a_killed_run_leaves_nothing_behind(picture_tree, host, tmp_path, ranks):
    """Of torchrun and of a single process, each with two loader workers a rank."""
    config = swap_config(
        picture_tree, tmp_path, [learn(iters=10**6)], host=host, train_dataloader__num_workers=2
    )
    path = write_config(config, tmp_path / 'config.py')
    command = [sys.executable, 'tools/train.py', str(path)]
    if ranks > 1:
        command = ['bash', 'tools/dist_train.sh', str(path), str(ranks)]
    variables = dict(PYTHON=sys.executable, PORT=free_port(), OMP_NUM_THREADS='1')
    process, children = started(command, tmp_path, **variables)
    process.kill()
    process.wait()
    assert len(children) >= (2 if ranks == 1 else 6)
    assert all(dies(child, 3) for child in children)


def test_workers_of_loaders_end_with_the_run(picture_tree, host, tmp_path):
    loading = dict(num_workers=2, persistent_workers=True)
    changes = {
        f'{part}_dataloader__{key}': value
        for part in ('train', 'val', 'test')
        for key, value in loading.items()
    }
    config = swap_config(picture_tree, tmp_path, [learn(iters=3)], host=host, **changes)
    runner, _ = train(config)
    assert runner.train_dataloader.num_workers == 2 and runner.val_dataloader.num_workers == 2
    assert multiprocessing.active_children() == []
    first, second = runner.test(), runner.test()  # new ones start
    assert first == second and first
    assert multiprocessing.active_children() == []
