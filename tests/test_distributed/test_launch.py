"""What ends the output when one of several processes fails."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from knowswap_mm.distributed.launch import cause, describe
from tests.helpers.swap_configs import swap_config, write_config

REPOSITORY = Path(__file__).parents[2]


def failure(exitcode, message='', timestamp=5):
    return SimpleNamespace(exitcode=exitcode, message=message, timestamp=timestamp)


TOLD = dict(message='boom', extraInfo=dict(knowswap=True))


def test_reasons():
    assert describe(3, failure(-9)).startswith('Rank 3 was ended by the signal SIGKILL. Fix: ')
    assert describe(0, failure(-15)) == 'Rank 0 was ended by the signal SIGTERM.'
    assert describe(1, failure(7)).startswith('Rank 1 ended with exit code 7; its last words')
    other = dict(message='boom', extraInfo=dict(py_callstack='...', timestamp='1'))
    assert describe(1, failure(1, other)).startswith('Rank 1 ended with exit code 1')


@pytest.mark.parametrize(
    ('failures', 'first'),
    [
        ([failure(-15), failure(1, TOLD)], 1),  # in one second, as the launcher ended the other
        ([failure(-15, timestamp=4), failure(1, TOLD)], 1),
        ([failure(1), failure(1, TOLD)], 1),
        ([failure(-9, timestamp=4), failure(1, TOLD)], 0),
        ([failure(1, TOLD), failure(1, TOLD)], 0),
        ([failure(-15, timestamp=6), failure(-15)], 1),  # somebody ended all of them
    ],
)
def test_the_first_failure_is_told(failures, first):
    assert cause(dict(enumerate(failures)))[0] == first


@pytest.fixture
def wrong(picture_tree, host, tmp_path):
    config = swap_config(picture_tree, tmp_path / 'run', host=host)
    config.swap.classes.forget = ['nobody']
    return write_config(config, tmp_path / 'config.py')


def launch(*command):
    env = dict(os.environ, PYTHON=sys.executable, OMP_NUM_THREADS='1', PYTHONPATH=str(REPOSITORY))
    done = subprocess.run(
        list(map(str, command)), env=env, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 1
    return done


@pytest.mark.slow
@pytest.mark.distributed
def test_the_reason_stands_alone(wrong):
    done = launch('bash', REPOSITORY / 'tools' / 'dist_train.sh', wrong, 2)
    assert done.stderr.startswith("ConfigError: swap.classes.forget = 'nobody'")
    assert len(done.stderr.splitlines()) <= 5 and 'Fix: ' in done.stderr


@pytest.mark.slow
@pytest.mark.distributed
def test_torchrun_shows_the_reason_in_its_summary(wrong):
    done = launch(
        sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2', '--master_port=29741',
        '-m', 'knowswap_mm', 'train', wrong, '--launcher', 'pytorch',
    )  # fmt: skip
    root = done.stderr.partition('Root Cause')[2]
    assert "traceback : ConfigError: swap.classes.forget = 'nobody'" in root
