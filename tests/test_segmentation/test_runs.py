"""A whole swap of a segmentor: results, resuming, the host's own tools, two processes."""

import json

import pytest
from mmengine.registry import DATASETS, DefaultScope

from knowswap_mm.errors import ConfigError
from tests.helpers.processes import train_together
from tests.helpers.runs import (
    PHASES,
    check_equal_ends,
    check_hosts_own_tool,
    results_of,
    train,
)
from tests.helpers.segmentation_configs import NEW, OLD, segmentation_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def run(scenes, host, tmp_path_factory):
    folder = tmp_path_factory.mktemp('segmentor_run')
    config = segmentation_config(scenes, folder, host, PHASES)
    return train(config), folder


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
    check_equal_ends(tmp_path, folder)


def test_the_hosts_own_tool_gives_the_same_numbers(run, tmp_path):
    """mmseg's test.py with our config and a checkpoint of a phase."""
    runner, folder = run
    check_hosts_own_tool('mmseg', runner, folder, 'seg/mIoU', tmp_path)


@pytest.mark.distributed
def test_two_processes(scenes, host, tmp_path):
    config = segmentation_config(scenes, tmp_path / 'run', host, PHASES)
    train_together(config, 2, train)
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
        (
            dict(model__host__decode_head__loss_cls__class_weight=[1.0] * 5),
            'model.host class_weight',
        ),
    ],
    ids=['class', 'mixed', 'pixels', 'first id', 'folder', 'zero', 'id', 'weights'],
)
def test_bad_input_stops_before_training(change, key, scenes, host, tmp_path):
    prefix = 'train_dataloader__dataset__roles__forget__'
    change = {k if k.startswith(('swap', 'model')) else prefix + k: v for k, v in change.items()}
    config = segmentation_config(scenes, tmp_path, host, PHASES[1:], **change)
    with pytest.raises(ConfigError) as caught:
        train(config)
    assert caught.value.key == key and 'Fix:' in str(caught.value)
    assert not list(tmp_path.glob('*.pth'))


def test_mixed_pictures_may_be_dropped(scenes, host, tmp_path):
    """Some scenes have a class to forget and no other: no labelled background."""
    sizes = {}
    for mixed in ('ignore_pixels', 'drop_image'):
        change = dict(train_dataloader__dataset__roles__forget__mixed=mixed)
        config = segmentation_config(scenes, tmp_path / mixed, host, PHASES[1:], **change)
        roles = dict(old=list(OLD), learn=list(NEW), forget=['star'])
        with DefaultScope.overwrite_default_scope('mmseg'):
            data = DATASETS.build(dict(config.train_dataloader.dataset, classes=roles))
        sizes[mixed] = len(data.views['forget'])
    assert 0 < sizes['drop_image'] < sizes['ignore_pixels']
