"""Counts of samples by role and class, and what is said of classes that have none."""

import json
import shutil

import mmdet.datasets  # noqa: F401
import mmseg.datasets  # noqa: F401
import numpy as np
import pytest
from mmengine.registry import DefaultScope
from PIL import Image

from knowswap_mm.datasets import RoleDataset
from knowswap_mm.datasets.role_counts import count_problems, role_counts
from knowswap_mm.errors import ConfigError
from knowswap_mm.runs.reader import RunFolder
from knowswap_mm.visualization.report.sections import Data

CLASSES = dict(old=['a', 'b', 'c'], learn=[], forget=['c'])
#: Images that hold each class: one has a and b, three have c, none has x.
HELD = [{'a', 'b'}, {'a'}, {'c'}, {'c'}, {'c'}]


def pixels(root):
    for number in range(len(HELD)):
        path = root / 'img' / f'{number}.jpg'
        path.parent.mkdir(exist_ok=True)
        Image.new('RGB', (8, 8)).save(path)


def detection(root):
    pixels(root)
    names = 'abcx'
    boxes = [(i, n) for i, held in enumerate(HELD) for n in sorted(held)]
    content = dict(
        images=[dict(id=i, file_name=f'{i}.jpg', width=8, height=8) for i in range(len(HELD))],
        categories=[dict(id=i, name=name) for i, name in enumerate(names)],
        annotations=[
            dict(
                id=k, image_id=i, category_id=names.index(n), bbox=[0, 0, 4, 4], area=16, iscrowd=0
            )
            for k, (i, n) in enumerate(boxes)
        ],
    )
    (root / 'boxes.json').write_text(json.dumps(content))
    dataset = dict(
        type='mmdet.CocoDataset', ann_file=str(root / 'boxes.json'),
        data_prefix=dict(img=str(root / 'img')), pipeline=[],
    )  # fmt: skip
    return dict(view='knowswap_mm.CocoRoleView', cache_dir=str(root / 'cache')), dataset


def segmentation(root):
    pixels(root)
    (root / 'map').mkdir()
    for number, held in enumerate(HELD):
        values = np.full((8, 8), 255, np.uint8)
        for place, name in enumerate(sorted(held)):
            values[place] = 'abcx'.index(name)
        Image.fromarray(values).save(root / 'map' / f'{number}.png')
    dataset = dict(
        type='mmseg.BaseSegDataset', metainfo=dict(classes=list('abcx')), pipeline=[],
        data_prefix=dict(img_path=str(root / 'img'), seg_map_path=str(root / 'map')),
    )  # fmt: skip
    return dict(view='knowswap_mm.SemanticRoleView', cache_dir=str(root / 'cache')), dataset


def build(options, dataset, old, forget=('c',), **more):
    roles = {role: dict(options, dataset=dataset, **more) for role in ('forget', 'retain')}
    return RoleDataset(roles, dict(old=list(old), learn=[], forget=list(forget)))


@pytest.mark.parametrize('task', [detection, segmentation])
def test_a_class_without_a_sample_is_told_by_name(task, tmp_path, told):
    with DefaultScope.overwrite_default_scope('mmengine'):
        options, dataset = task(tmp_path)
        data = build(options, dataset, 'abcx')
    counts = role_counts(data.views)
    assert counts['retain']['classes'] == dict(a=2, b=1, x=0)
    unit, each = ('objects', 1) if task is detection else ('pixels', 8)
    assert counts['forget'] == dict(
        samples=3, held_out=0, fraction=1.0, left_out={}, classes=dict(c=3), available=dict(c=3),
        other={}, unit=unit, objects=dict(c=3 * each),
    )  # fmt: skip
    assert [text for text in told if 'dataset.roles.retain: class x without a sample' in text]


@pytest.mark.parametrize('task', [detection, segmentation])
def test_wrapped_data_that_a_view_does_not_read(task, tmp_path):
    with DefaultScope.overwrite_default_scope('mmengine'):
        options, dataset = task(tmp_path)
        with pytest.raises(ConfigError, match=r"^dataset.roles.forget.dataset.type = 'RepeatData"):
            build(options, dict(type='RepeatDataset', times=2, dataset=dataset), 'abcx')


def empty_class(picture_tree, tmp_path):
    root = shutil.copytree(picture_tree / 'train', tmp_path / 'train')
    shutil.rmtree(root / 'e')
    (root / 'e').mkdir()
    return root


def test_classification(picture_tree, tmp_path, told, host):
    root = empty_class(picture_tree, tmp_path)
    data = build({}, host(root), 'abcde', 'b')
    counts = role_counts(data.views)
    assert counts['retain']['classes'] == dict(a=12, c=12, d=12, e=0)
    assert [t for t in told if 'retain: class e without a sample' in t and 'swap.classes.ret' in t]


def test_a_fraction_that_leaves_a_class_without_a_sample(picture_tree, told, host):
    data = build({}, host(picture_tree / 'train'), 'abcde', 'b', fraction=0.03)
    counts = role_counts(data.views)['retain']
    lost = [name for name, n in counts['classes'].items() if not n]
    assert len(lost) == 3 and set(counts['available'].values()) == {12}
    (text,) = [text for text in told if 'roles.retain' in text]
    assert f'classes {", ".join(lost)} without a sample' in text
    assert 'fraction=0.03' in text and "fraction_by='class'" in text
    told.clear()
    build({}, host(picture_tree / 'train'), 'abcde', 'b', fraction=0.03, fraction_by='class')
    assert told == []


def test_a_long_tail():
    found = dict(classes=dict(a=100, b=4, c=5, d=0), available=dict(a=100, b=4, c=5, d=0))
    tail = [p for p in count_problems(dict(learn=dict(found, fraction=1.0))) if 'few' in p]
    assert tail == [
        'learn: class b (4) with very few samples beside the 100 of the largest class: they hardly '
        'count in the loss of the role.'
    ]
    even = dict(classes=dict(a=100, b=90), available=dict(a=100, b=90), fraction=1.0)
    assert count_problems(dict(learn=even)) == []


def test_run_and_report_have_the_counts(tmp_path):
    found = dict(
        samples=4, held_out=5, fraction=1.0, left_out={'with other objects': 3},
        other={'boxes of no size': 2}, classes=dict(a=4, b=0), available=dict(a=4, b=0),
        unit='objects', objects=dict(a=6, b=0),
    )  # fmt: skip
    (tmp_path / 'run.json').write_text(json.dumps(dict(roles=dict(learn=found))))
    record = RunFolder.__new__(RunFolder)
    record.folder, record.problems = tmp_path, []
    note, roles, reasons, classes = Data().blocks(record)
    assert 'class b without a sample' in note.markdown()
    assert roles.data()['rows'] == [['learn', 4, 1, 3, '6 objects']]
    assert reasons.data()['rows'] == [
        ['learn', 'samples held out of training, for the guard', 5],
        ['learn', 'images with other objects', 3], ['learn', 'boxes of no size', 2],
    ]  # fmt: skip
    assert classes.blocks[0].data()['rows'] == [
        ['a', 'learn', 4, 4, '6 objects'], ['b', 'learn', 0, 0, '0 objects'],
    ]  # fmt: skip
    assert record.problems == []
    for other in ('{}', '{"roles": [1]}', '{"roles": {"learn": {"samples": 1}}}'):
        (tmp_path / 'run.json').write_text(other)
        record.__dict__.pop('counts')
        assert Data().blocks(record) == []
    assert 'run.json cannot be read' in record.problems[0]
