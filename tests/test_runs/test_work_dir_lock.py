"""One run at a time in a work dir, whatever became of the one before."""

import hashlib
import json
import os
import threading
import time

import pytest

from knowswap_mm.errors import CheckpointError, ConfigError
from knowswap_mm.runs import lock as work_dir_lock
from knowswap_mm.runs.lock import LOCK_FILE, WorkDirLock, in_use, read_holder
from tests.helpers.namespaces import FORK, Container, need_namespaces
from tests.helpers.swap_configs import learn, swap_config, train


@pytest.fixture(autouse=True)
def short_times(monkeypatch):
    for name, seconds in dict(BEAT=0.2, PATIENCE=0.4, SILENCE=2.0).items():
        monkeypatch.setattr(work_dir_lock, name, seconds)


def hold(folder, send, launches=()):
    """Take the lock and keep it until the process is killed."""
    WorkDirLock(folder, launches).acquire()
    send.send(os.getpid())
    time.sleep(60)


def tell_hold(folder, send):
    """As a container."""
    hold(folder, send)


@pytest.fixture
def other_run(tmp_path):
    """A run in a process of its own."""
    receive, send = FORK.Pipe(duplex=False)
    process = FORK.Process(target=hold, args=(tmp_path, send, ['launch of a']))
    process.start()
    assert receive.poll(30)
    yield process
    process.kill()
    process.join()


def seconds_to_take(folder, launches=()):
    begin = time.monotonic()
    lock = WorkDirLock(folder, launches)
    lock.acquire()
    seconds = time.monotonic() - begin
    lock.release()
    assert not (folder / LOCK_FILE).exists()
    assert not list(folder.glob('*.partial'))
    return seconds


def test_a_second_run_is_refused_and_the_first_is_named(other_run, tmp_path):
    assert in_use(tmp_path)
    with pytest.raises(ConfigError) as caught:
        WorkDirLock(tmp_path).acquire()
    held = json.loads((tmp_path / LOCK_FILE).read_text())
    assert held['pid'] == other_run.pid
    said = str(caught.value)
    assert said.startswith('work_dir = ') and 'another run trains in it' in said
    assert f'machine {held["host"]}, process {other_run.pid}, since {held["since"]}' in said
    assert '--work-dir' in said


def test_a_killed_run_blocks_nobody(other_run, tmp_path):
    other_run.kill()
    other_run.join()
    assert not in_use(tmp_path)
    assert seconds_to_take(tmp_path) < 1


def test_a_container_is_seen_by_its_lock(tmp_path):
    """Its process numbers mean nothing here; the kernel is the same."""
    need_namespaces()
    container = Container(tell_hold, tmp_path)
    assert container.result() == 1
    with pytest.raises(ConfigError, match='process 1, since'):
        WorkDirLock(tmp_path).acquire()
    container.kill()
    for _ in range(50):  # the kernel kills what was in it
        if work_dir_lock._is_locked(tmp_path / LOCK_FILE, read_holder(tmp_path / LOCK_FILE)):
            time.sleep(0.1)
    assert seconds_to_take(tmp_path) < 1


@pytest.fixture
def of_another_machine(tmp_path):
    """A lock whose process cannot be seen from here."""
    path = tmp_path / LOCK_FILE
    content = dict(host='node7', pid=1, since='then', process='0badc0de:1:1:5', token='t')
    path.write_text(json.dumps(content | dict(launches=['launch of a'])))
    return path


def test_another_machine_with_signs_of_life_is_not_disturbed(of_another_machine, tmp_path):
    ended = threading.Event()

    def beat():
        while not ended.wait(0.1):
            # The clock of its storage is an hour behind.
            now = time.time_ns() - 3_600_000_000_000
            os.utime(of_another_machine, ns=(now, now))

    of_another_machine.touch()
    thread = threading.Thread(target=beat)
    thread.start()
    work = pytest.MonkeyPatch()
    work.setattr(work_dir_lock, '_is_old', lambda path: False)
    try:
        with pytest.raises(ConfigError, match='machine node7, process 1, since then'):
            WorkDirLock(tmp_path).acquire()
    finally:
        work.undo()
        ended.set()
        thread.join()
    assert json.loads(of_another_machine.read_text())['host'] == 'node7'


def test_another_machine_without_signs_of_life_is_waited_for_once(of_another_machine, tmp_path):
    assert work_dir_lock.SILENCE < seconds_to_take(tmp_path) < work_dir_lock.SILENCE + 3


@pytest.mark.parametrize('how', ['long ago', 'same launch'])
def test_what_is_surely_dead_is_not_waited_for(how, of_another_machine, tmp_path):
    launches = []
    if how == 'long ago':
        then = time.time() - 2 * work_dir_lock.LONG_AGO
        os.utime(of_another_machine, (then, then))
    else:
        launches = ['launch of b', 'launch of a']
    assert seconds_to_take(tmp_path, launches) < 1


@pytest.mark.parametrize('text', ['', '{"host": ', '[]', 'null', '{"process": 5, "launches": 7}'])
def test_a_lock_that_is_none_is_taken_after_a_while(text, tmp_path, monkeypatch):
    monkeypatch.setattr(work_dir_lock, 'SILENCE', 0.3)
    (tmp_path / LOCK_FILE).write_text(text)
    seconds_to_take(tmp_path)


def _contend(folder, start, results):
    start.wait()
    try:
        WorkDirLock(folder).acquire()
        results.put('taken')
        time.sleep(3)
        os._exit(0)
    except ConfigError:
        results.put('refused')


@pytest.mark.parametrize('links', [True, False])
@pytest.mark.parametrize('left', [False, True])
def test_of_many_one_takes_over(links, left, of_another_machine, tmp_path, monkeypatch):
    if left:  # one died while it took over
        text = hashlib.sha256(of_another_machine.read_bytes()).hexdigest()[:12]
        (tmp_path / f'{LOCK_FILE}.{text}.partial').touch()
    if not links:
        monkeypatch.setattr(os, 'link', lambda *_: (_ for _ in ()).throw(OSError(95, 'no links')))
    then = time.time() - 2 * work_dir_lock.LONG_AGO
    os.utime(of_another_machine, (then, then))
    start, results = FORK.Event(), FORK.Queue()
    processes = [FORK.Process(target=_contend, args=(tmp_path, start, results)) for _ in range(6)]
    for process in processes:
        process.start()
    start.set()
    found = sorted(results.get(timeout=30) for _ in processes)
    for process in processes:
        process.kill()
        process.join()
    assert found == ['refused'] * 5 + ['taken']


def test_a_run_that_was_stopped_for_long_notices_that_it_lost_the_folder(tmp_path):
    said, heard = [], threading.Event()
    lock = WorkDirLock(tmp_path, lost=lambda message: (said.append(message), heard.set()))
    lock.acquire()
    (tmp_path / 'new').write_text(json.dumps(dict(host='node8', pid=9, since='now')))
    os.replace(tmp_path / 'new', tmp_path / LOCK_FILE)
    assert heard.wait(10)
    assert 'was taken over by another run (machine node8, process 9' in said[0]
    lock.release()
    assert json.loads((tmp_path / LOCK_FILE).read_text())['host'] == 'node8'


def test_a_lock_that_somebody_removed_is_made_again(tmp_path):
    lock = WorkDirLock(tmp_path)
    lock.acquire()
    before = (tmp_path / LOCK_FILE).read_bytes()
    (tmp_path / LOCK_FILE).unlink()
    end = time.monotonic() + 10
    while not (tmp_path / LOCK_FILE).exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert (tmp_path / LOCK_FILE).read_bytes() == before
    lock.release()
    assert not (tmp_path / LOCK_FILE).exists()


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(CheckpointError, match='could not be written on .*work_dir'):
        WorkDirLock(tmp_path / 'file').acquire()


def test_a_run_holds_the_folder_as_long_as_it_trains(other_run, picture_tree, host, tmp_path):
    """What the other run wrote stays as it was."""
    config = swap_config(picture_tree, tmp_path, [learn(iters=2)], host=host)
    (tmp_path / 'mine.py').write_text('of the other run')
    object.__setattr__(config, '_filename', 'mine.py')
    with pytest.raises(ConfigError, match='another run trains in it'):
        train(config)
    assert (tmp_path / 'mine.py').read_text() == 'of the other run'
    assert not list(tmp_path.glob('*.pth')) and not (tmp_path / 'run.json').exists()
    other_run.kill()
    other_run.join()
    train(config)
    assert (tmp_path / 'mine.py').read_text() != 'of the other run'
    assert (tmp_path / 'phase1_learn.pth').exists() and not (tmp_path / LOCK_FILE).exists()
