"""Data sets of mmdet that a role takes, and those that it refuses."""

import mmdet.datasets
import pytest
from mmengine.registry import DefaultScope

from knowswap_mm.errors import ConfigError
from tests.helpers.coco_data import content, make, write


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.mark.parametrize(
    ('changes', 'key', 'fix'),
    [
        (dict(type='RepeatDataset', times=2), 'type', 'counts iterations'),
        (dict(type='ClassBalancedDataset', oversample_thr=0.1), 'type', "fraction_by='class'"),
        (dict(type='ConcatDataset', datasets=[]), 'type', 'one annotation file'),
        (dict(type='MultiImageMixDataset'), 'type', 'inner data set'),
        (dict(type='VOCDataset'), 'type', 'data detection voc'),
        (dict(type='XMLDataset'), 'type', 'data detection voc'),
        (dict(type='LVISV1Dataset'), 'type', "type='CocoDataset' with the same"),
        (dict(type='Objects365V2Dataset'), 'type', "type='CocoDataset' with the same"),
        (dict(type='CocoPanopticDataset'), 'type', 'instances json'),
        (dict(type='CrowdHumanDataset'), 'type', 'as COCO json'),
        (dict(type='NoSuchDataset'), 'type', 'CocoDataset'),
        (dict(ann_file=['a.json', 'b.json']), 'ann_file', 'join'),
        (dict(indices=3), 'indices', 'fraction'),
        (dict(data_prefix=dict(img_path='images/')), 'data_prefix', "img='train2017/'"),
    ],
)
def test_data_sets_that_are_refused_by_key(changes, key, fix, tmp_path):
    host = write(tmp_path, content())
    wrapped = dict(changes, dataset=host) if 'times' in changes else dict(host, **changes)
    with pytest.raises(ConfigError) as caught:
        make(tmp_path, wrapped)
    assert caught.value.key == f'dataset.roles.forget.dataset.{key}' and fix in str(caught.value)


def test_a_data_set_class_and_a_relative_of_coco(tmp_path):
    host = write(tmp_path, content())
    for kind in (mmdet.datasets.CocoDataset, 'CityscapesDataset', 'mmdet.CocoDataset'):
        assert len(make(tmp_path, dict(host, type=kind))) == 2


def test_a_pipeline_without_boxes_trains_nothing(tmp_path):
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackDetInputs')]
    dataset = make(tmp_path, write(tmp_path, content(), pipeline=pipeline))
    with pytest.raises(ConfigError, match=r'pipeline.*loads no boxes.*LoadAnnotations'):
        dataset[0]
