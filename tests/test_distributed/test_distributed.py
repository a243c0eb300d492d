"""Two gloo processes with half the batch each do what one process does."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import RUNNERS

from tests.helpers.swap_configs import (
    assert_same_weights,
    forget,
    learn,
    swap_config,
    train,
    weights_of,
    write_config,
)

REPOSITORY = Path(__file__).parents[2]
PHASES = [
    dict(kind='expand', iters=4),
    learn(iters=5),
    forget(iters=5, merge_learned=True, lr_factor=0.5),
]
STATES = ['phase1_expand', 'phase2_learn', 'phase3_forget']

pytestmark = [pytest.mark.slow, pytest.mark.distributed]


def launch(script, *arguments):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    environment = dict(os.environ, PYTHON=sys.executable, PORT=port, OMP_NUM_THREADS='1')
    command = ['bash', str(REPOSITORY / 'tools' / script), *map(str, arguments)]
    done = subprocess.run(
        command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def make_config(picture_tree, host, work_dir, batch_size):
    config = swap_config(
        picture_tree,
        work_dir,
        PHASES,
        host=host,
        batch_size=batch_size,
        policy='new_rows',
        param_scheduler=dict(type='CosineAnnealingLR', eta_min=1e-5),
        custom_imports__imports=['knowswap_mm', 'tests.helpers.swap_configs'],
        custom_hooks=[dict(type='SwapRecorder', folder=str(work_dir / 'record'))],
    )
    for loader in (config.val_dataloader, config.test_dataloader):
        # An odd number of images: the last one is served to both processes.
        loader.dataset.roles.retain.fraction = 0.55
    return config


@pytest.fixture(scope='module')
def pair(picture_tree, host, tmp_path_factory):
    """Folder of a run of two processes, with what each of them recorded."""
    folder = tmp_path_factory.mktemp('pair')
    config = make_config(picture_tree, host, folder, 8)
    launch('dist_train.sh', write_config(config, folder / 'config.py'), 2)
    ranks = [torch.load(folder / f'record/rank{r}.pt', weights_only=False) for r in (0, 1)]
    return folder, ranks


@pytest.fixture(scope='module')
def single(picture_tree, host, tmp_path_factory):
    """The same run in one process with the whole batch."""
    folder = tmp_path_factory.mktemp('single')
    return folder, train(make_config(picture_tree, host, folder, 16))[1]


def test_ranks_see_disjoint_samples(pair):
    """Together they go through a set once before an image comes again."""
    _, ranks = pair
    drawn = dict(learn=[], forget=[], retain=[])
    for left, right in zip(ranks[0]['steps'], ranks[1]['steps'], strict=True):
        assert left['iteration'] == right['iteration']
        assert [role for role, *_ in left['samples']] == [role for role, *_ in right['samples']]
        for role, _, path in left['samples'] + right['samples']:
            drawn[role].append(path)
    for role, size in dict(learn=24, forget=12, retain=48).items():
        assert len(drawn[role]) > size
        assert len(set(drawn[role][:size])) == size


def test_ranks_end_with_the_same_weights(pair):
    folder, ranks = pair
    assert_same_weights(ranks[0]['weights'], ranks[1]['weights'])
    assert_same_weights(ranks[0]['weights'], weights_of(folder / 'phase3_forget.pth'))


def test_two_processes_equal_one(pair, single):
    folder, ranks = pair
    other, recorder = single
    for step, left, right in zip(recorder.steps, ranks[0]['steps'], ranks[1]['steps'], strict=True):
        assert set(left['samples']) | set(right['samples']) == set(step['samples'])
        assert left['lr'] == right['lr'] == pytest.approx(step['lr'], abs=1e-12)
        assert left['trainable'] == right['trainable'] == step['trainable']
        assert (left['loss'] + right['loss']) / 2 == pytest.approx(step['loss'], abs=1e-4)
    for state in STATES:
        left, right = (weights_of(path / f'{state}.pth') for path in (folder, other))
        assert_same_weights(left, right, tolerance=1e-5)


def test_evaluation_is_the_same(pair, single, picture_tree, host, tmp_path):
    folder, _ = pair
    stored, other = (
        json.loads((path / 'swap_results.json').read_text())['states']
        for path in (folder, single[0])
    )
    assert list(stored) == ['start', *STATES]
    assert stored['start']['metrics'] == other['start']['metrics']
    config = make_config(picture_tree, host, tmp_path, 8)
    config.load_from = str(folder / 'phase3_forget.pth')
    metrics = RUNNERS.build(config).test()
    last = stored['phase3_forget']['metrics']
    assert metrics == {name: last[name] for name in metrics}


def test_dist_test_gives_the_same_numbers(pair, tmp_path):
    folder, _ = pair
    out = tmp_path / 'metrics.json'
    arguments = ['--work-dir', tmp_path, '--out', out]
    launch('dist_test.sh', folder / 'config.py', folder / 'phase2_learn.pth', 2, *arguments)
    stored = json.loads((folder / 'swap_results.json').read_text())['states']['phase2_learn']
    metrics = json.loads(out.read_text())
    assert metrics and metrics == {name: stored['metrics'][name] for name in metrics}
