"""Processes that wait for one that does not come end in time and say which it is."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, RUNNERS

from knowswap_mm.distributed.process_group import GRACE, TIMEOUT, with_timeout
from knowswap_mm.engine.hooks.stall import EXIT_CODE
from tests.helpers.processes import free_port, join, start, train_together
from tests.helpers.swap_configs import (
    assert_same_weights,
    learn,
    swap_config,
    weights_of,
    write_config,
)

REPOSITORY = Path(__file__).parents[2]
SECONDS = 3


@HOOKS.register_module()
class StallingHook(Hook):
    """Lets a rank stop, sleep or die in an iteration.

    Args:
        how: ``stop``, ``sleep``, ``sleep in evaluation`` or ``die``; the last one happens once.
        rank: The rank.
        at: The iteration.
    """

    def __init__(self, how, rank, at=3):
        self.how, self.rank, self.at = how, rank, at

    def _happen(self, runner):
        if self.how == 'stop':
            os.kill(os.getpid(), signal.SIGSTOP)
        elif self.how.startswith('sleep'):
            time.sleep(600)
        elif not (mark := Path(runner.work_dir) / 'died').exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.rank == self.rank and runner.iter == self.at and 'evaluation' not in self.how:
            self._happen(runner)

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        if runner.rank == self.rank and batch_idx == 0 and 'evaluation' in self.how:
            self._happen(runner)


@pytest.fixture
def make_config(picture_tree, host):
    def make(folder, hook=None, seconds=SECONDS, **changes):
        return swap_config(
            picture_tree,
            folder,
            [learn(iters=8)],
            host=host,
            batch_size=4,
            custom_hooks=[hook] if hook else [],
            env_cfg__dist_cfg__timeout=seconds,
            **changes,
        )

    return make


@pytest.mark.distributed
@pytest.mark.parametrize(
    ('how', 'rank', 'words'),
    [
        ('stop', 1, 'rank 1 does not answer (stopped, dead or cut off'),
        ('stop', 0, 'rank 0 does not answer'),
        ('sleep', 1, 'rank 1 is behind (rank 1 is at'),
        ('sleep in evaluation', 0, 'rank 0 is behind (rank 0 is at'),
    ],
)
def test_a_rank_that_does_not_come_is_named(how, rank, words, make_config, tmp_path, capfd):
    config = make_config(tmp_path, dict(type='StallingHook', how=how, rank=rank))
    begin = time.monotonic()
    processes = start(config, 2)
    codes = join([processes[1 - rank]], 25)
    assert codes == [EXIT_CODE]
    assert time.monotonic() - begin < 5 * SECONDS + 8
    join([processes[rank]], 0.1 if how == 'stop' else 10)
    said = capfd.readouterr().err
    assert f'Rank {1 - rank} made no step for 3 s at ' in said and words in said
    assert 'Fix: look at that rank' in said and 'env_cfg.dist_cfg.timeout' in said
    assert 'Current thread' in said or 'Thread 0x' in said


@pytest.mark.distributed
def test_slow_ranks_are_waited_for(make_config, tmp_path):
    """As long as each step comes in time."""

    @HOOKS.register_module(force=True)
    class SlowHook(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            time.sleep(0.6 if runner.rank else 0)

    train_together(make_config(tmp_path, dict(type='SlowHook'), seconds=2), 2)
    assert (tmp_path / 'phase1_learn.pth').exists()


@pytest.mark.slow
@pytest.mark.distributed
def test_torchrun_goes_on_by_itself_after_a_death(make_config, tmp_path):
    """A rank is killed once; what torchrun starts again resumes and ends as if nothing had been."""

    def config_of(name, hook=None):
        return make_config(
            tmp_path / name,
            hook,
            100,
            dropout=0.1,
            default_hooks__checkpoint__interval=2,
            custom_imports__imports=['knowswap_mm', 'tests.test_distributed.test_stalls'],
        )

    train_together(config_of('whole'), 2)
    config = config_of('died', dict(type='StallingHook', how='die', rank=1, at=5))
    path = write_config(config, tmp_path / 'died' / 'config.py')
    variables = dict(PYTHON=sys.executable, PORT=free_port(), OMP_NUM_THREADS='1')
    done = subprocess.run(
        ['bash', str(REPOSITORY / 'tools' / 'dist_train.sh'), str(path), '2'],
        env=os.environ | variables | dict(MAX_RESTARTS='1'),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=280,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-4000:]
    # Rank 0 may still have been writing the checkpoint of iteration 4.
    assert re.search('Resumed at iteration [24]', said)
    assert_same_weights(*(weights_of(tmp_path / n / 'phase1_learn.pth') for n in ('whole', 'died')))


def test_the_timeout_of_a_config(raises_config_error, make_config, tmp_path):
    given, seconds = with_timeout(dict(dist_cfg=dict(backend='gloo')))
    assert seconds == TIMEOUT and given['dist_cfg'] == dict(backend='gloo', timeout=TIMEOUT + GRACE)
    assert with_timeout({})[1] == TIMEOUT
    for value in (0, -5, True, 'long', float('inf'), float('nan')):
        with raises_config_error('env_cfg.dist_cfg.timeout', value):
            with_timeout(dict(dist_cfg=dict(timeout=value)))
    with raises_config_error('env_cfg.dist_cfg.timeout', 'long'):
        RUNNERS.build(make_config(tmp_path, seconds='long'))
