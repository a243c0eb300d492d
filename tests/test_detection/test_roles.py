"""Roles over COCO json: which images, which boxes, which labels."""

import copy
import json
from pathlib import Path

import mmdet.datasets  # noqa: F401  registers the host
import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from PIL import Image

from knowswap_mm.datasets import RoleDataset
from knowswap_mm.datasets.coco_json import CocoJson
from knowswap_mm.errors import ConfigError
from knowswap_mm.evaluation import CocoRoleMetric

OLD = ['cat', 'dog', 'owl']
CLASSES = dict(old=OLD, learn=['bee', 'ant'], forget=['dog'])
#: Categories (their ids are neither sorted nor without gaps) of the images' objects.
PICTURES = {
    'cats': ['cat', 'cat'],
    'dog': ['dog'],
    'mixed': ['dog', 'cat'],
    'owl': ['owl'],
    'crowd': ['dog'],
    'empty': [],
}
IDS = dict(owl=7, cat=3, dog=12)


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture
def content():
    images, annotations = [], []
    for number, (name, objects) in enumerate(PICTURES.items()):
        images.append(dict(id=10 * number, file_name=f'{name}.png', width=40, height=30))
        for position, category in enumerate(objects):
            item = dict(image_id=10 * number, category_id=IDS[category], area=80)
            item.update(id=len(annotations) + 1, bbox=[4 * position, 2, 8, 10])
            annotations.append(dict(item, iscrowd=int(name == 'crowd')))
    categories = [dict(id=number, name=name) for name, number in IDS.items()]
    return dict(images=images, annotations=annotations, categories=categories)


def write(root, content):
    (root / 'pictures').mkdir(parents=True, exist_ok=True)
    for image in content['images']:
        pixels = np.zeros((image['height'], image['width'], 3), np.uint8)
        Image.fromarray(pixels).save(root / 'pictures' / image['file_name'])
    (root / 'boxes.json').write_text(json.dumps(content))
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='PackDetInputs'),
    ]
    return dict(
        type='CocoDataset',
        data_root=f'{root}/',
        ann_file='boxes.json',
        data_prefix=dict(img='pictures/'),
        pipeline=pipeline,
    )


def make(tmp_path, roles, classes=CLASSES):
    options = dict(cache_dir=str(tmp_path / 'cache'))
    roles = {role: dict(options, **settings) for role, settings in roles.items()}
    return RoleDataset(roles, classes, view='knowswap_mm.CocoRoleView')


def seen(dataset):
    """Per image: its labels by name, those of ignored boxes in brackets."""
    names, found = dataset.metainfo['classes'], {}
    for index in range(len(dataset)):
        sample = dataset[index]['data_samples']
        labels = [names[label] for label in sample.gt_instances.labels]
        labels += [f'({names[label]})' for label in sample.ignored_instances.labels]
        found[sample.img_path.rsplit('/')[-1].removesuffix('.png')] = labels
    return found


@pytest.mark.parametrize(
    ('mixed', 'forget', 'retain'),
    [
        ('drop_image', {'dog': ['dog']}, {'cats': ['cat', 'cat'], 'owl': ['owl']}),
        (
            'drop_boxes',
            {'dog': ['dog'], 'mixed': ['dog']},
            {'cats': ['cat', 'cat'], 'mixed': ['cat'], 'owl': ['owl']},
        ),
        (
            'ignore_boxes',
            {'dog': ['dog'], 'mixed': ['dog', '(cat)']},
            {'cats': ['cat', 'cat'], 'mixed': ['cat', '(dog)'], 'owl': ['owl']},
        ),
        (
            'keep',
            {'dog': ['dog'], 'mixed': ['dog', 'cat']},
            {'cats': ['cat', 'cat'], 'mixed': ['dog', 'cat'], 'owl': ['owl']},
        ),
    ],
)
def test_mixed_pictures(tmp_path, content, mixed, forget, retain):
    host = write(tmp_path / 'old', content)
    for role, wanted in dict(forget=forget, retain=retain).items():
        dataset = make(tmp_path, {role: dict(dataset=host, mixed=mixed)}, dict(CLASSES, learn=[]))
        assert seen(dataset) == wanted


def test_images_that_hold_forgotten_objects_are_marked(tmp_path, content):
    """What is found there may be what was forgotten; the role that forgets has no such images."""
    host = write(tmp_path, content)
    roles = {role: dict(dataset=host, mixed='drop_boxes') for role in ('forget', 'retain')}
    dataset = make(tmp_path, roles, dict(CLASSES, learn=[]))
    marked = {}
    for role, view in dataset.views.items():
        images = json.loads(view.ann_file.read_text())['images']
        marked[role] = {image['file_name'] for image in images if image.get('forgotten')}
    assert marked == dict(forget=set(), retain={'mixed.png'})
    assert dataset.metainfo['role_metainfo']['retain']['role_classes'] == ['cat', 'owl']


def test_images_without_an_object_of_the_role_may_stay(tmp_path, content):
    """The official evaluation takes all images of a json; what is found there costs AP."""
    host, classes = write(tmp_path / 'old', content), dict(CLASSES, learn=[])
    for mixed, forget in (
        (
            'drop_boxes',
            dict(cats=[], dog=['dog'], mixed=['dog'], owl=[], crowd=['(dog)'], empty=[]),
        ),
        ('drop_image', dict(dog=['dog'], crowd=['(dog)'], empty=[])),
    ):
        role = dict(dataset=host, mixed=mixed, without_object='keep')
        dataset = make(tmp_path, dict(forget=role), classes)
        assert seen(dataset) == forget
        # Drawn by class, they are one more.
        drawn = make(tmp_path, dict(forget=dict(role, fraction=0.4, fraction_by='class')), classes)
        assert any('dog' in labels for labels in seen(drawn).values())
        assert any(not labels for labels in seen(drawn).values())

    view = dataset.views['forget']
    config, _ = view.write_plain(tmp_path / 'plain', {1: 0}, ['dog'])
    written = json.loads(Path(config['ann_file']).read_text())
    assert [i['file_name'] for i in written['images']] == ['dog.png', 'crowd.png', 'empty.png']

    def precision(dataset):
        """AP if the dog is found, and with a higher score another one in each empty image."""
        metric = CocoRoleMetric()
        metric.dataset_meta = dict(dataset.metainfo, **dataset.metainfo['role_metainfo']['forget'])
        for index in range(len(dataset)):
            sample = dataset[index]['data_samples']
            labels = torch.tensor([1])
            boxes = torch.tensor([[0.0, 2, 8, 12]])
            score = 0.5 if len(sample.gt_instances.labels) else 0.9
            found = dict(bboxes=boxes, labels=labels, scores=torch.tensor([score]))
            shown = dict(img_id=sample.img_id, ori_shape=(30, 40), pred_instances=found)
            metric.process(None, [shown])
        return metric.compute_metrics(metric.results)['bbox_mAP']

    only = dict(dataset=host, mixed='drop_image')
    assert precision(make(tmp_path, dict(forget=only), classes)) == 1.0
    assert precision(dataset) == pytest.approx(0.5)  # the crowd takes one, the empty image costs


def test_a_role_without_any_object_has_no_sample(tmp_path, content):
    content['annotations'] = [a for a in content['annotations'] if a['category_id'] != IDS['dog']]
    host = write(tmp_path / 'old', content)
    role = dict(dataset=host, mixed='drop_boxes', without_object='keep')
    with pytest.raises(ConfigError, match='the role has no sample'):
        make(tmp_path, dict(forget=role), dict(CLASSES, learn=[]))


@pytest.fixture
def three(tmp_path, content):
    """All roles; learn from a json of its own, with category ids from 1."""
    host = write(tmp_path / 'old', content)
    new = copy.deepcopy(content)
    new['images'] = new['images'][:2]
    new['categories'] = [dict(id=1, name='Apis'), dict(id=2, name='ant')]
    new['annotations'] = [dict(a, category_id=1 + a['image_id'] // 10) for a in new['annotations']]
    new['annotations'] = [a for a in new['annotations'] if a['image_id'] < 20]
    learn = write(tmp_path / 'new', new)
    roles = dict(
        learn=dict(dataset=learn, label_map=dict(Apis='bee')),
        forget=dict(dataset=host),
        retain=dict(dataset=host),
    )
    return make(tmp_path, roles)


def test_learn_classes_follow_the_old_ones(three):
    assert three.metainfo['classes'] == (*OLD, 'bee', 'ant')
    samples = [three[index]['data_samples'] for index in range(len(three))]
    assert [s.role for s in samples] == ['learn', 'learn', 'forget', 'retain', 'retain']
    assert [s.gt_instances.labels.tolist() for s in samples] == [[3, 3], [4], [1], [0, 0], [2]]


def test_each_role_has_a_json_of_its_own(three):
    for role, view in three.views.items():
        written = json.loads(open(three.metainfo['role_metainfo'][role]['ann_file']).read())
        assert [c['name'] for c in written['categories']] == [*OLD, 'bee', 'ant']
        assert [c['id'] for c in written['categories']] == list(range(5))
        assert [i['id'] for i in written['images']] == list(range(1, len(view) + 1))


def test_the_json_is_written_once(three, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / 'cache').glob('*.json')}
    assert len(before) == 3
    view = three.views['retain']
    assert view._write(three.classes) == view.ann_file
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / 'cache').glob('*.json')}
    assert after == before


def test_raw_category_ids_are_labels(tmp_path, content):
    host = write(tmp_path / 'old', content)
    roles = dict(forget=dict(dataset=host), retain=dict(dataset=host))
    classes = dict(old='raw_category_id', forget=['dog'])
    dataset = make(tmp_path, roles, classes)
    names = dataset.metainfo['classes']
    assert len(names) == 13 and (names[3], names[7], names[12]) == ('cat', 'owl', 'dog')
    assert names[0] == 'unused-0'
    assert dataset[0]['data_samples'].gt_instances.labels.tolist() == [12]
    ordered = make(tmp_path, roles, dict(classes, old='category_id'))
    assert ordered.metainfo['classes'] == ('cat', 'owl', 'dog')


def test_a_fraction_is_drawn_from_the_pictures_of_the_role(tmp_path, content):
    host = write(tmp_path / 'old', content)
    role = dict(dataset=host, mixed='drop_boxes', fraction=0.67, seed=1)
    dataset = make(tmp_path, dict(retain=role), dict(CLASSES, learn=[]))
    assert len(dataset) == 2 and len(dataset.drawn_indices['retain']) == 2
    names = list(PICTURES)
    assert set(seen(dataset)) == {names[i] for i in dataset.drawn_indices['retain']}


def test_only_mixed_pictures_are_an_error(tmp_path, content):
    content['images'] = [i for i in content['images'] if i['file_name'] == 'mixed.png']
    kept = {i['id'] for i in content['images']}
    content['annotations'] = [a for a in content['annotations'] if a['image_id'] in kept]
    host = write(tmp_path / 'old', content)
    with pytest.raises(ConfigError, match=r'roles\.forget\.mixed.*all 1 images.*drop_boxes'):
        make(tmp_path, dict(forget=dict(dataset=host)), dict(CLASSES, learn=[]))


def test_a_role_with_crowds_only_is_an_error(tmp_path, content):
    for item in content['annotations']:
        item['iscrowd'] = 1
    host = write(tmp_path / 'old', content)
    with pytest.raises(ConfigError, match='the role has no sample'):
        make(tmp_path, dict(forget=dict(dataset=host)), dict(CLASSES, learn=[]))


@pytest.mark.parametrize(
    ('change', 'problem'),
    [
        (lambda c: c['annotations'][0].update(category_id=99), 'no category_id 99'),
        (lambda c: c['annotations'][0].update(image_id=None), 'no image_id None'),
        (lambda c: c['annotations'][0].update(bbox=[1, 2, 3]), 'without a box'),
        (lambda c: c['annotations'][0].update(bbox=[1, 2, float('nan'), 3]), 'without a box'),
        (lambda c: c['images'][0].update(id=10), 'two images with id 10'),
        (lambda c: c['images'][0].update(width=0), 'whose width is 0: id 0'),
        (lambda c: c['categories'][0].update(name='cat'), 'two categories of one name'),
        (lambda c: c.pop('images'), "no list 'images'"),
    ],
)
def test_broken_files_are_named(tmp_path, content, change, problem):
    change(content)
    (tmp_path / 'boxes.json').write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=problem) as caught:
        CocoJson(tmp_path / 'boxes.json', 'some.key')
    assert caught.value.key == 'some.key' and 'Fix:' in str(caught.value)


@pytest.mark.parametrize('text', ['', '{', '[]', '"a"', '[' * 100_000])
def test_files_that_are_no_coco_json(tmp_path, text):
    (tmp_path / 'boxes.json').write_text(text)
    with pytest.raises(ConfigError, match='Fix:'):
        CocoJson(tmp_path / 'boxes.json', 'some.key')


def test_boxes_are_clipped_or_dropped(tmp_path, content):
    boxes = [[-5, -5, 10, 10], [38, 20, 10, 30], [50, 2, 8, 8], [0, 0, 0.5, 9], [1, 1, 3, 3]]
    content['annotations'] = [
        dict(id=i + 1, image_id=0, category_id=3, bbox=box, area=0) for i, box in enumerate(boxes)
    ]
    (tmp_path / 'boxes.json').write_text(json.dumps(content))
    found = CocoJson(tmp_path / 'boxes.json', 'some.key')
    assert [o['bbox'] for o in found.objects[0]] == [[0, 0, 5, 5], [38, 20, 2, 10], [1, 1, 3, 3]]
    assert [o['area'] for o in found.objects[0]] == [25, 20, 9]
    assert found.outside == 2
