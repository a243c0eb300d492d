"""A launch is known by something that its restarts have, and nothing else."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from mmengine.config import Config

from knowswap_mm.errors import CheckpointError
from knowswap_mm.runs.checkpoints import ResumePoint
from knowswap_mm.runs.launch import config_hash, launch_name, lives, process_name
from tests.helpers.namespaces import FORK, Container, need_namespaces
from tests.helpers.processes import join, start
from tests.helpers.swap_configs import learn, swap_config

TOOLS = Path(__file__).parents[2] / 'tools'


def _names_of_two_children():
    """A container whose first process starts a worker twice, as torchrun does."""
    names = []
    for _ in range(2):
        receive, send = FORK.Pipe(duplex=False)
        child = FORK.Process(target=lambda send=send: send.send((launch_name(), os.getppid())))
        child.start()
        names.append(receive.recv())
        child.join()
    return names


def test_torchrun_as_process_1_of_two_containers(monkeypatch):
    """Host name, number of the parent and run id are equal; the launches are not."""
    need_namespaces()
    monkeypatch.setenv('TORCHELASTIC_RUN_ID', 'none')
    first, second = (Container(_names_of_two_children).result() for _ in range(2))
    assert {parent for _, parent in (*first, *second)} == {1}
    assert first[0] == first[1] and second[0] == second[1]
    assert first[0][0] and second[0][0] and first[0] != second[0]


def test_a_process_that_nothing_restarts_has_no_launch(monkeypatch):
    monkeypatch.delenv('TORCHELASTIC_RUN_ID', raising=False)
    monkeypatch.setenv('KNOWSWAP_LAUNCH', 'abc')
    assert launch_name() is None
    monkeypatch.setenv('TORCHELASTIC_RUN_ID', 'none')
    assert launch_name().startswith('abc:')


def test_who_lives():
    need_namespaces()
    container = Container(process_name)
    assert lives(container.result()) is None  # cannot be seen from here
    container.join()
    own = process_name()
    assert lives(own) is True
    *place, number, begin = own.split(':')
    assert lives(':'.join([*place, number, str(int(begin) + 1)])) is False
    assert process_name(2**22 + 1) is None


def test_the_script_names_each_launch(tmp_path):
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\necho "$KNOWSWAP_LAUNCH"\n')
    python.chmod(0o755)
    environment = os.environ | dict(PYTHON=str(python), KNOWSWAP_LAUNCH='of the shell')
    command = ['bash', str(TOOLS / 'dist_train.sh'), 'c.py', '2']
    names = {
        subprocess.run(command, env=environment, capture_output=True, text=True).stdout.strip()
        for _ in range(2)
    }
    assert len(names) == 2 and all(len(name) == 32 for name in names)


@pytest.fixture(scope='module')
def launched(picture_tree, host, tmp_path_factory):
    """Folder of a run that a torchrun (this process) started, and its run.json."""

    folder = tmp_path_factory.mktemp('launched')
    config = swap_config(picture_tree, folder, [learn(iters=4)], host=host, randomness=dict(seed=1))
    assert join(start(config, 1, TORCHELASTIC_RUN_ID='none')) == [0]
    return folder, json.loads((folder / 'run.json').read_text())


def test_a_restart_takes_over_what_its_launch_wrote(launched):
    folder, record = launched
    assert record['launches'] and record['config_sha256']
    point = ResumePoint(folder, False, 'host.pth', record['launches'], record['config_sha256'])
    assert point.resumes and Path(point.path).parent == folder
    # Of several machines, one that was there before is enough: rank 0 may be another one now.
    names = ['of another machine', *record['launches']]
    assert ResumePoint(folder, False, 'host.pth', names, record['config_sha256']).resumes


@pytest.mark.parametrize('how', ['another launch', 'no launch', 'same process'])
def test_another_run_in_the_folder_begins_anew(how, launched, monkeypatch):
    folder, record = launched
    names = dict.fromkeys(['same process'], record['launches']).get(how, [])
    names = ['an0ther'] if how == 'another launch' else names
    if how == 'same process':
        target = 'knowswap_mm.runs.checkpoints.process_name'
        monkeypatch.setattr(target, lambda: record['process'])
    point = ResumePoint(folder, False, 'host.pth', names, record['config_sha256'])
    assert (point.path, point.resumes) == ('host.pth', False)


def test_a_launch_whose_config_was_changed_is_refused(launched):
    folder, record = launched
    with pytest.raises(CheckpointError, match='config was changed since .*--resume'):
        ResumePoint(folder, False, 'host.pth', record['launches'], 'of another seed')


def test_a_second_torchrun_whose_worker_died_while_starting(launched, picture_tree, host, tmp_path):
    """It went on from the checkpoint of the first run, and ended with its weights."""

    folder = tmp_path / 'same'
    shutil.copytree(launched[0], folder)
    config = swap_config(picture_tree, folder, [learn(iters=4)], host=host, randomness=dict(seed=2))
    variables = dict(TORCHELASTIC_RUN_ID='none', KNOWSWAP_LAUNCH='second')
    assert join(start(config, 1, **variables)) == [0]
    record = json.loads((folder / 'run.json').read_text())
    assert record['seed'] == 2 and record['resumed_at'] is None
    assert record['run'] != launched[1]['run']


def test_a_config_is_the_same_after_the_runner_wrote_it(picture_tree, host, tmp_path):
    """In another order, with tuples as lists; not with another value."""
    config = swap_config(picture_tree, tmp_path, [learn(iters=4)], host=host)
    config.dump(str(tmp_path / 'config.py'))
    again = Config.fromfile(tmp_path / 'config.py')
    again.merge_from_dict(dict(swap=again._cfg_dict.pop('swap')))
    assert config_hash(again) == config_hash(config)
    again.randomness.seed = 77
    assert config_hash(again) != config_hash(config)
