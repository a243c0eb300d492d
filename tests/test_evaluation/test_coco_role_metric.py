"""COCO metrics of a role against the json that its view wrote."""

import json
import sys

import mmdet.evaluation  # noqa: F401  registers the host's metrics
import pytest
import torch
from mmengine.registry import DefaultScope

from knowswap_mm.errors import ConfigError
from knowswap_mm.evaluation import CocoRoleMetric

NAMES = ('a', 'b', 'c')


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture(scope='module')
def annotations(tmp_path_factory):
    """Eight images with boxes of a and b; c has none."""
    generator = torch.Generator().manual_seed(0)
    images, items = [], []
    for number in range(1, 9):
        images.append(dict(id=number, file_name=f'{number}.png', width=64, height=64))
        for _ in range(3):
            x, y = (30 * torch.rand(2, generator=generator)).tolist()
            w, h = (4 + 28 * torch.rand(2, generator=generator)).tolist()
            item = dict(id=len(items) + 1, image_id=number, category_id=len(items) % 2)
            items.append(item | dict(bbox=[x, y, w, h], area=w * h, iscrowd=0))
    path = tmp_path_factory.mktemp('coco') / 'role.json'
    categories = [dict(id=i, name=name) for i, name in enumerate(NAMES)]
    path.write_text(json.dumps(dict(images=images, annotations=items, categories=categories)))
    return path, items


def predictions(items, shift=0.0, extra=()):
    """One sample an image: the boxes themselves, moved by up to `shift` pixels."""
    generator = torch.Generator().manual_seed(1)
    samples = []
    for number in range(1, 9):
        own = [item for item in items if item['image_id'] == number]
        boxes = [[x, y, x + w, y + h] for x, y, w, h in (item['bbox'] for item in own)]
        boxes += [box for box, _ in extra]
        labels = [item['category_id'] for item in own] + [label for _, label in extra]
        boxes = torch.tensor(boxes).reshape(-1, 4)
        boxes = boxes + shift * torch.rand(boxes.shape, generator=generator)
        scores = torch.rand(len(labels), generator=generator)
        found = dict(bboxes=boxes, scores=scores, labels=torch.tensor(labels, dtype=torch.long))
        samples.append(dict(img_id=number, ori_shape=(64, 64), pred_instances=found))
    return samples


def measure(annotations, samples, **settings):
    metric = CocoRoleMetric(**settings)
    metric.dataset_meta = dict(classes=NAMES, ann_file=str(annotations))
    for sample in samples:
        metric.process(None, [sample])
    return metric.compute_metrics(metric.results)


def test_the_annotations_themselves_are_perfect_and_nothing_is_zero(annotations):
    path, items = annotations
    assert measure(path, predictions(items))['bbox_mAP'] == 1.0
    found = measure(path, predictions([]))
    assert found['bbox_mAP'] == found['bbox_mAP_50'] == found['bbox_mAP_75'] == 0.0


def test_a_class_without_an_object_does_not_count(annotations):
    path, items = annotations
    wrong = [([1.0, 2, 30, 40], 2)]  # c occurs in no image of the role
    found = measure(path, predictions(items, extra=wrong), classwise=True)
    assert found['bbox_mAP'] == found['a_precision'] == found['b_precision'] == 1.0
    assert 'c_precision' not in found and all(value == value for value in found.values())


@pytest.mark.parametrize('shift', [0.0, 3.0, 12.0])
def test_both_backends_agree(annotations, shift):
    pytest.importorskip('faster_coco_eval')
    path, items = annotations
    samples = predictions(items, shift, extra=[([5.0, 5, 20, 20], 0)])
    found, other = (
        measure(path, samples, backend=backend) for backend in ('pycocotools', 'faster_coco_eval')
    )
    for name in ('bbox_mAP', 'bbox_mAP_50', 'bbox_mAP_75', 'bbox_mAP_s', 'bbox_mAP_m'):
        if name in found:
            assert found[name] == pytest.approx(other[name], abs=1e-3)
    assert (0 < found['bbox_mAP'] < 1) or shift == 0


def test_backend_that_is_unknown_or_missing(monkeypatch):
    with pytest.raises(ConfigError, match="'fast'.*unknown backend"):
        CocoRoleMetric(backend='fast')
    monkeypatch.setitem(sys.modules, 'faster_coco_eval', None)
    with pytest.raises(ConfigError, match='pip install faster-coco-eval'):
        CocoRoleMetric(backend='faster_coco_eval')


def test_spare_rows_of_the_head_are_no_class(annotations):
    path, items = annotations
    spare = predictions(items, extra=[([1.0, 1.0, 9.0, 9.0], len(NAMES)), ([0.0, 0, 5, 5], 84)])
    assert measure(path, spare)['bbox_mAP'] == 1.0


@pytest.fixture
def mixed(annotations, tmp_path):
    """The same images; on four of them are also objects of a forgotten class."""
    path, items = annotations
    content = json.loads(path.read_text())
    for image in content['images'][:4]:
        image['forgotten'] = True
    found = tmp_path / 'mixed.json'
    found.write_text(json.dumps(content))
    return found, items


@pytest.mark.parametrize('settings', [{}, dict(classwise=True)])
def test_what_is_found_on_forgotten_objects_is_read_apart(mixed, annotations, settings):
    """Boxes of class a where forgotten objects lie cost AP, but not where none are."""
    path, items = mixed
    samples = predictions(items)
    for sample in samples[:4]:
        found = sample['pred_instances']
        wrong = torch.tensor([[60.0, 60, 64, 64]])
        found['bboxes'] = torch.cat([found['bboxes'], wrong])
        found['scores'] = torch.cat([found['scores'], torch.ones(1)])
        found['labels'] = torch.cat([found['labels'], torch.zeros(1, dtype=torch.long)])
    found = measure(path, samples, **settings)
    assert found['bbox_mAP'] < 0.95 and found['bbox_mAP_apart'] == 1.0
    assert 'a_precision_apart' not in found
    # Missed objects of the images that are read apart are missed there, too.
    samples[7]['pred_instances']['scores'] *= 0
    samples[7]['pred_instances']['bboxes'] *= 0
    assert measure(path, samples)['bbox_mAP_apart'] < 1.0
    # Where no image holds any, or all do, there is nothing to tell apart.
    assert not [name for name in measure(annotations[0], samples) if name.endswith('_apart')]
    content = json.loads(path.read_text())
    for image in content['images']:
        image['forgotten'] = True
    path.write_text(json.dumps(content))
    assert not [name for name in measure(path, samples) if name.endswith('_apart')]


def test_nothing_found_apart_is_zero(mixed):
    path, items = mixed
    samples = predictions(items)
    for sample in samples[4:]:
        found = sample['pred_instances']
        sample['pred_instances'] = {key: value[:0] for key, value in found.items()}
    found = measure(path, samples)
    assert found['bbox_mAP'] > 0 and found['bbox_mAP_apart'] == 0.0


def test_what_objects_are_called(tmp_path):
    """By hand: the surest detection of at least 0.3 that overlaps at least half."""
    boxes = [[0, 0, 10, 10], [20, 20, 10, 10], [40, 40, 10, 10], [0, 40, 10, 10], [40, 0, 10, 10]]
    labels, crowd = [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]
    items = [
        dict(id=n + 1, image_id=1, category_id=label, bbox=box, area=100, iscrowd=c)
        for n, (box, label, c) in enumerate(zip(boxes, labels, crowd, strict=True))
    ]
    path = tmp_path / 'role.json'
    categories = [dict(id=i, name=name) for i, name in enumerate(NAMES)]
    images = [dict(id=n, file_name=f'{n}.png', width=64, height=64) for n in (1, 2)]
    path.write_text(json.dumps(dict(images=images, annotations=items, categories=categories)))
    metric = CocoRoleMetric()
    metric.dataset_meta = dict(classes=NAMES, ann_file=str(path), role_classes=['a'])
    found = [
        ([0, 0, 10, 10], 0.5, 0), ([0, 0, 10, 9], 0.6, 2),  # c is surer of the first one
        ([20, 20, 30, 30], 0.29, 0),  # not sure enough
        ([44, 44, 54, 54], 0.9, 1),  # overlaps too little (36 of 164)
        ([0, 40, 10, 50], 0.9, 1), ([40, 0, 50, 10], 0.9, 1),  # b is not the role's; a crowd
        ([20, 20, 30, 30], 0.9, 3),  # a spare row of the head
    ]  # fmt: skip
    instances = dict(
        bboxes=torch.tensor([box for box, _, _ in found], dtype=torch.float),
        scores=torch.tensor([score for _, score, _ in found]),
        labels=torch.tensor([label for _, _, label in found]),
    )
    none = {key: value[:0] for key, value in instances.items()}
    for number, each in ((1, instances), (2, none)):
        metric.process(None, [dict(img_id=number, ori_shape=(64, 64), pred_instances=each)])
    answers = metric.answers(metric.results)
    assert answers == dict(a=dict(units=3, answers={'': 2, 'c': 1}))
