"""A whole swap of a segmentor: results, resuming, the host's own tools, two processes."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import RUNNERS

from knowswap_mm.errors import ConfigError
from tests.segmentation_configs import NEW, OLD, segmentation_config
from tests.swap_configs import write_config

REPOSITORY = Path(__file__).parents[2]
PHASES = [
    dict(kind='learn', iters=3, weights=dict(sparsity=0.01)),
    dict(kind='forget', iters=3, bound=90.0, merge_learned=True, weights=dict(sparsity=0.01)),
]

pytestmark = pytest.mark.slow


def train(config):
    runner = RUNNERS.build(config)
    runner.train()
    return runner


@pytest.fixture(scope='module')
def run(scenes, host, tmp_path_factory):
    folder = tmp_path_factory.mktemp('segmentor_run')
    config = segmentation_config(scenes, folder, host, PHASES)
    return train(config), folder


def results_of(folder):
    return json.loads((folder / 'swap_results.json').read_text())


def test_results_by_role(run):
    runner, folder = run
    results = results_of(folder)
    assert results['primary_metric'] == 'seg/mIoU' and results['scale'] == 100.0
    assert list(results['states']) == ['start', 'phase1_learn', 'phase2_forget']
    for state in results['states'].values():
        names = set(state['metrics'])
        assert {f'{role}/seg/mIoU' for role in ('learn', 'forget', 'retain')} <= names
        # By class, on request of this config.
        assert {f'learn/seg/IoU/{name}' for name in NEW} <= names
        assert not any(name.endswith('IoU/star') for name in names if 'retain' in name)
    assert runner.train_dataloader.dataset.metainfo['classes'] == (*OLD, *NEW)
    manifest = json.loads((folder / 'adapter' / 'manifest.json').read_text())
    assert manifest['class_roles']['forget'] == ['star']


@pytest.mark.parametrize('point', ['iter_2.pth', 'phase1_learn.pth', 'iter_5.pth'])
def test_resumed_equals_uninterrupted(run, point, scenes, host, tmp_path):
    _, folder = run
    config = segmentation_config(scenes, tmp_path, host, PHASES)
    config.resume, config.load_from = True, str(folder / point)
    train(config)
    found, wanted = (
        torch.load(path / 'phase2_forget.pth', weights_only=False)['state_dict']
        for path in (tmp_path, folder)
    )
    for name, tensor in wanted.items():
        assert torch.equal(found[name], tensor), name
    last = results_of(folder)['states']['phase2_forget']['metrics']
    assert json.dumps(results_of(tmp_path)['states']['phase2_forget']['metrics']) == json.dumps(
        last
    )


def test_the_hosts_own_tool_gives_the_same_numbers(run, tmp_path):
    """mmseg's test.py with our config and a checkpoint of a phase."""
    runner, folder = run
    config = write_config(runner.cfg, tmp_path / 'config.py')
    spec = importlib.util.find_spec('mmseg')
    tool = Path(spec.submodule_search_locations[0]) / '.mim' / 'tools' / 'test.py'
    command = [sys.executable, str(tool), str(config), str(folder / 'phase1_learn.pth')]
    command += ['--work-dir', str(tmp_path / 'test')]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    (written,) = (tmp_path / 'test').glob('*/*.json')
    found = json.loads(written.read_text())
    wanted = results_of(folder)['states']['phase1_learn']['metrics']
    for role in ('learn', 'forget', 'retain'):
        name = f'{role}/seg/mIoU'
        assert found[name] == wanted[name]


@pytest.mark.distributed
def test_two_processes(scenes, host, tmp_path):
    config = segmentation_config(scenes, tmp_path / 'run', host, PHASES)
    path = write_config(config, tmp_path / 'config.py')
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    environment = dict(os.environ, PYTHON=sys.executable, PORT=port, OMP_NUM_THREADS='1')
    command = ['bash', str(REPOSITORY / 'tools' / 'dist_train.sh'), str(path), '2']
    done = subprocess.run(
        command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert list(results_of(tmp_path / 'run')['states'])[-1] == 'phase2_forget'


MAPS = 'dataset.roles.forget.dataset.data_prefix.seg_map_path'


@pytest.mark.parametrize(
    ('change', 'key'),
    [
        (dict(swap__classes__forget=['star', 'hexagon']), 'swap.classes.forget'),
        (dict(mixed='sometimes'), 'dataset.roles.forget.mixed'),
        (dict(min_pixels=0), 'dataset.roles.forget.min_pixels'),
        (dict(first_id=250), 'dataset.roles.forget.first_id'),
        (dict(dataset__data_prefix__seg_map_path='nowhere'), MAPS),
        (dict(dataset__reduce_zero_label=False), MAPS),
        (dict(dataset__metainfo__classes=list(OLD[:-1])), MAPS),
        (dict(mixed='drop_image', min_pixels=1), None),
        (
            dict(model__host__decode_head__loss_cls__class_weight=[1.0] * 5),
            'model.host class_weight',
        ),
    ],
    ids=['class', 'mixed', 'pixels', 'first id', 'folder', 'zero', 'id', 'fits', 'weights'],
)
def test_bad_input_stops_before_training(change, key, scenes, host, tmp_path):
    prefix = 'train_dataloader__dataset__roles__forget__'
    change = {k if k.startswith(('swap', 'model')) else prefix + k: v for k, v in change.items()}
    config = segmentation_config(scenes, tmp_path, host, PHASES[1:], **change)
    if key is None:  # the only one that is allowed: some scenes have no labelled background
        RUNNERS.build(config)
        return
    with pytest.raises(ConfigError) as caught:
        train(config)
    assert caught.value.key == key and 'Fix:' in str(caught.value)
    assert not list(tmp_path.glob('*.pth'))
