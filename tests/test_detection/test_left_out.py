"""What a role leaves out of its data, and what is said about it."""

import pytest
from mmengine.registry import DefaultScope
from PIL import Image

import knowswap_mm.datasets.role_counts as role_counts
from knowswap_mm.datasets import RoleDataset, SwapSampler
from knowswap_mm.datasets.role_dataset import data_manifest
from knowswap_mm.errors import ConfigError
from knowswap_mm.schedule import SwapSchedule
from tests.helpers.coco_data import CLASSES, content, make, write


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture
def warnings(monkeypatch):
    """What is logged as a warning: mmengine's logger does not hand records on."""
    found = []
    real = role_counts.print_log
    keep = lambda text, **k: found.append(text) or real(text, **k)  # noqa: E731
    monkeypatch.setattr(role_counts, 'print_log', keep)
    return found


def names_of(dataset, index):
    names = dataset.metainfo['classes']
    return [names[label] for label in dataset[index]['data_samples'].gt_instances.labels]


def test_classes_without_a_role_do_not_make_an_image_mixed(tmp_path):
    """The blood images: learn two classes, and a third without a role is in every image."""
    host = write(tmp_path, content([['bee', 'fox'], ['ant', 'fox', 'fox'], ['fox']]))
    for role, group in (('learn', ['bee', 'ant']), ('forget', [])):
        classes = dict(CLASSES, learn=group, forget=[] if group else ['dog'])
        if not group:
            host = write(tmp_path / 'b', content([['dog', 'fox'], ['fox']]))
        dataset = make(tmp_path, host, role, classes)
        found = [names_of(dataset, index) for index in range(len(dataset))]
        assert found == ([['bee'], ['ant']] if group else [['dog']])
    assert dataset.views['forget'].counts.to_dict()['left_out'] == {}


def test_learn_data_by_role(tmp_path):
    """Retained classes keep their boxes; what is forgotten must not be learned beside."""
    host = write(tmp_path, content([['bee', 'cat'], ['ant', 'dog'], ['ant', 'owl', 'fox']]))
    dataset = make(tmp_path, host, 'learn', dict(CLASSES, retain=['cat']))
    found = [names_of(dataset, index) for index in range(len(dataset))]
    assert found == [['bee', 'cat'], ['ant', 'owl']]
    counts = dataset.views['learn'].counts.to_dict()
    assert counts['left_out'] == {"with objects of 'dog'": 1}
    assert counts['classes']['ant'] == dict(images=2, images_used=1, objects_used=1)
    assert counts['other'] == {"objects of other classes count as background: 'fox'": 1}


def test_classes_without_a_role_can_be_ignored(tmp_path):
    host = write(tmp_path, content([['bee', 'fox']]))
    dataset = make(tmp_path, host, 'learn', mixed='ignore_boxes')
    sample = dataset[0]['data_samples']
    assert names_of(dataset, 0) == ['bee'] and len(sample.ignored_instances) == 1
    # In an evaluation the box would hide wrong predictions of a class.
    tested = make(tmp_path, dict(host, test_mode=True), 'learn', mixed='ignore_boxes')
    assert not len(tested[0]['data_samples'].ignored_instances)


def test_a_class_that_is_left_without_an_image_is_refused(tmp_path, warnings):
    host = write(tmp_path, content([['bee'], ['bee', 'fox'], ['ant', 'fox']]))
    with pytest.raises(ConfigError) as caught:
        make(tmp_path, host, 'learn', mixed='drop_image')
    for words in ('roles.learn.mixed', '2 of 3 images', "2 with objects of 'fox'", "'ant' (1 befo"):
        assert words in str(caught.value)
    tested = make(tmp_path, dict(host, test_mode=True), 'learn', mixed='drop_image')
    assert len(tested) == 1 and "none is left of 'ant'" in warnings[0]


def test_the_record_of_a_run_has_the_counts(tmp_path):
    host = write(tmp_path, content([['bee', 'dog'], 'bee', 'ant']))
    dataset = make(tmp_path, host, 'learn')
    assert data_manifest(dataset)['roles']['learn']['samples'] == 2
    assert role_counts.role_counts(dataset.views)['learn'] == dict(
        samples=2,
        held_out=0,
        fraction=1.0,
        classes=dict(bee=1, ant=1),
        available=dict(bee=1, ant=1),
        left_out={"with objects of 'dog'": 1},
        other={},
        unit='objects',
        objects=dict(bee=1, ant=1),
    )


@pytest.mark.parametrize(('mixed', 'warned'), [(3, False), (4, True)])
def test_many_left_out_images_are_a_warning(mixed, warned, tmp_path, warnings):
    groups = [['dog', 'cat']] * mixed + ['dog'] * (10 - mixed)
    make(tmp_path, write(tmp_path, content(groups)))
    assert bool(warnings) == warned
    if warned:
        assert "4 of 10 images of the role are left out: 4 with objects of 'cat'" in warnings[0]


def test_a_rest_smaller_than_a_batch_is_refused(tmp_path):
    host = write(tmp_path, content([['dog', 'cat'], 'dog', 'dog', 'cat', 'cat']))
    roles = {r: dict(dataset=host, cache_dir=str(tmp_path / 'c')) for r in ('forget', 'retain')}
    dataset = RoleDataset(roles, dict(CLASSES, learn=[]), view='knowswap_mm.CocoRoleView')
    swap = dict(phases=[dict(kind='forget', iters=2, split=dict(forget=3, retain=3), bound=5.0)])
    schedule = SwapSchedule.from_config(swap, dataset.role_sizes, 6)
    with pytest.raises(ConfigError, match=r'forget\.mixed.*2 images are left and 1 left out.*3'):
        SwapSampler(dataset, schedule)
    swap['phases'][0]['split'] = dict(forget=2, retain=4)  # there were no four
    SwapSampler(dataset, SwapSchedule.from_config(swap, dataset.role_sizes, 6))


def test_small_images_are_left_out_as_the_host_would(tmp_path):
    found = content()
    found['images'][0].update(width=20)
    Image.new('RGB', (20, 30)).save((tmp_path / 'images').mkdir() or tmp_path / 'images/1.png')
    host = write(tmp_path, found, filter_cfg=dict(filter_empty_gt=True, min_size=25))
    dataset = make(tmp_path, host)
    left = dataset.views['forget'].counts.left_out
    assert len(dataset) == 1 and left == {'smaller than 25 (filter_cfg.min_size)': 1}
