"""A whole swap of a detector: results, resuming, the host's own tools, two processes."""

import json
import subprocess
import sys

import mmdet.datasets.api_wrappers as mmdet_api
import pytest

from knowswap_mm.errors import ConfigError
from tests.helpers.detection_configs import NEW, OLD, detection_config
from tests.helpers.processes import train_together
from tests.helpers.runs import (
    PHASES,
    check_equal_ends,
    check_hosts_own_tool,
    results_of,
    train,
)
from tests.helpers.swap_configs import write_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def run(scenes, host, tmp_path_factory):
    folder = tmp_path_factory.mktemp('detector_run')
    config = detection_config(scenes, folder, host, PHASES)
    return train(config), folder


def test_results_by_role(run):
    runner, folder = run
    results = results_of(folder)
    assert results['primary_metric'] == 'coco/bbox_mAP' and results['scale'] == 1.0
    assert list(results['states']) == ['start', 'phase1_learn', 'phase2_forget']
    for state in results['states'].values():
        names = set(state['metrics'])
        assert {f'{role}/coco/bbox_mAP' for role in ('learn', 'forget', 'retain')} <= names
        # By class, on request of this config.
        assert {f'learn/coco/{name}_precision' for name in NEW} <= names
    assert runner.train_dataloader.dataset.metainfo['classes'] == (*OLD, *NEW)
    manifest = json.loads((folder / 'adapter' / 'manifest.json').read_text())
    assert manifest['class_roles']['forget'] == ['star']


@pytest.mark.parametrize('point', ['iter_2.pth', 'phase1_learn.pth', 'iter_5.pth'])
def test_resumed_equals_uninterrupted(run, point, scenes, host, tmp_path):
    _, folder = run
    config = detection_config(scenes, tmp_path, host, PHASES)
    config.resume, config.load_from = True, str(folder / point)
    train(config)
    check_equal_ends(tmp_path, folder)


def test_the_hosts_own_tool_gives_the_same_numbers(run, tmp_path):
    """mmdet's test.py with our config and a checkpoint of a phase."""
    runner, folder = run
    check_hosts_own_tool('mmdet', runner, folder, 'coco/bbox_mAP', tmp_path)


@pytest.mark.parametrize('level', ['INFO', 'DEBUG'])
def test_what_pycocotools_prints_is_for_debugging(level, run, scenes, host, tmp_path):
    """By the command, in a process of its own: reading data, and measuring. Errors still show."""
    _, folder = run
    config = detection_config(scenes, tmp_path / 'run', host, PHASES, log_level=level)
    path = write_config(config, tmp_path / 'swap.py')
    command = [sys.executable, '-m', 'knowswap_mm', 'test', path, folder / 'phase1_learn.pth']
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    (log,) = (tmp_path / 'run').glob('*/*.log')
    for words in ('loading annotations', 'creating index', 'Average Precision'):
        assert (words in done.stdout) == (words in log.read_text()) == (level == 'DEBUG')
    assert 'coco/bbox_mAP' in done.stdout and not done.stderr
    with pytest.raises(FileNotFoundError):
        mmdet_api.COCO(str(tmp_path / 'nothing.json'))


@pytest.mark.distributed
def test_two_processes(scenes, host, tmp_path):
    config = detection_config(scenes, tmp_path / 'run', host, PHASES)
    train_together(config, 2, train)
    assert list(results_of(tmp_path / 'run')['states'])[-1] == 'phase2_forget'


@pytest.mark.parametrize(
    ('change', 'key'),
    [
        ({'classes': ['star', 'hexagon']}, 'swap.classes.forget'),
        ({'mixed': 'sometimes'}, 'dataset.roles.forget.mixed'),
        ({'ann_file': 'annotations/nowhere.json'}, 'dataset.roles.forget.dataset.ann_file'),
    ],
    ids=['class', 'mixed', 'json'],
)
def test_bad_input_stops_before_training(change, key, scenes, host, tmp_path):
    config = detection_config(scenes, tmp_path, host, PHASES)
    forget = config.train_dataloader.dataset.roles.forget
    if 'classes' in change:
        config.swap.classes.forget = change['classes']
    if 'mixed' in change:
        forget.mixed = change['mixed']
    if 'ann_file' in change:
        forget.dataset.ann_file = change['ann_file']
    with pytest.raises(ConfigError) as caught:
        train(config)
    assert caught.value.key == key and 'Fix:' in str(caught.value)
    assert not list(tmp_path.glob('*.pth'))
