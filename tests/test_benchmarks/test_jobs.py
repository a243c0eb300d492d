"""benchmarks/real/jobs.py: order, what fails with what, and several drivers at once."""

import importlib
import threading

import pytest

from knowswap_mm.workflows.processes import RunFailed


@pytest.fixture(scope='module')
def jobs():
    with pytest.MonkeyPatch.context() as patch:
        module = importlib.import_module('real.jobs')
        patch.setattr(module, 'PAUSE', 0.01)
        yield module


@pytest.fixture
def made(jobs):
    """Makes jobs; they are done when they ran, and say in which order."""
    ran = []

    def make(name, *needs, fails=None, effect=True):
        def run():
            if fails:
                raise fails
            ran.extend([name] * effect)

        return jobs.Job(name, run, lambda: name in ran, needs)

    make.ran = ran
    return make


def test_what_is_needed_comes_first_and_once(jobs, made, tmp_path):
    host = made('host')
    swaps = [made(f'swap{i}', host) for i in range(3)]
    audits = [made(f'audit{i}', *swaps) for i in range(2)]
    assert jobs.run_all(audits, 2, tmp_path / 'locks') == []
    assert made.ran[0] == 'host' and sorted(made.ran[1:4]) == ['swap0', 'swap1', 'swap2']
    assert sorted(made.ran[4:]) == ['audit0', 'audit1']
    assert jobs.run_all(audits, 2, tmp_path / 'locks') == []
    assert len(made.ran) == 6  # nothing is repeated


def test_what_fails_takes_along_what_needs_it_alone(jobs, made, tmp_path, capsys):
    bad = made('bad', fails=RunFailed('no such file'))
    needs = made('needs', bad)
    problems = jobs.run_all([made('after', needs), made('other')], 1, tmp_path)
    assert problems == [
        'bad: no such file', 'needs: needs bad, which failed', 'after: needs needs, which failed',
    ]  # fmt: skip
    assert made.ran == ['other'] and 'bad: failed: no such file' in capsys.readouterr().out
    idle = jobs.run_all([made('idle', effect=False)], 1, tmp_path)
    assert idle == ['idle: it ended and is not done']
    told = jobs.Job('told', lambda: dict(error='other settings'), lambda: False)
    assert jobs.run_all([told], 1, tmp_path) == ['told: other settings']
    bug = jobs.run_all([made('bug', fails=KeyError('x'))], 1, tmp_path)
    assert bug == ["bug: KeyError('x')"]


def test_so_many_at_a_time(jobs, tmp_path):
    at_work, most, done = [], [], set()
    both = threading.Barrier(2)

    def job(number):
        def run():
            at_work.append(number)
            most.append(len(at_work))
            both.wait(30)  # nobody goes on alone
            at_work.remove(number)
            done.add(number)

        return jobs.Job(str(number), run, lambda: number in done)

    assert jobs.run_all([job(number) for number in range(4)], 2, tmp_path) == []
    assert max(most) == 2


def test_a_job_of_another_driver_is_waited_for(jobs, made, tmp_path):
    """It is neither done twice nor does it keep this driver from other work."""
    began, free = threading.Event(), threading.Event()

    def slow():
        began.set()
        assert free.wait(60)
        made.ran.append('shared')

    first = jobs.Job('shared', slow, lambda: 'shared' in made.ran)
    other = threading.Thread(target=jobs.run_all, args=([first], 1, tmp_path))
    other.start()
    assert began.wait(60)
    second = made('shared', fails=RuntimeError('done twice'))

    def own():
        made.ran.append('own')
        free.set()

    mine = [made('last', second), jobs.Job('own', own, lambda: 'own' in made.ran)]
    assert jobs.run_all(mine, 1, tmp_path) == []
    other.join(60)
    assert made.ran == ['own', 'shared', 'last']
