"""Audits of a detector and a segmentor: units are objects and regions of classes."""

import copy

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData

from knowswap_mm.audit.attacks.prototype_relearning import PrototypeRelearning
from knowswap_mm.audit.attacks.relearning import Relearning
from knowswap_mm.audit.case import Case
from knowswap_mm.audit.data import TEST, TRAIN, AuditData
from knowswap_mm.audit.models import ModelFile, Subject, read_units
from knowswap_mm.audit.readers import DetectionReader, SegmentationReader
from knowswap_mm.evaluation.answers import called
from knowswap_mm.registry import EVALUATORS
from tests.helpers import detection_configs, segmentation_configs
from tests.helpers.runs import PHASES

TASKS = dict(
    mmdet=(detection_configs, 'detection_config', DetectionReader),
    mmseg=(segmentation_configs, 'segmentation_config', SegmentationReader),
)


@pytest.fixture(scope='module', params=list(TASKS))
def task(request, tmp_path_factory):
    """Scope, config, host file and reader of a task."""
    module, name, reader = TASKS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    host = module.write_host(folder / 'host.pth')
    config = getattr(module, name)(
        module.write_scenes(folder / 'scenes'), folder / 'run', host, PHASES
    )
    with DefaultScope.overwrite_default_scope(request.param):
        yield config, host, reader


@pytest.fixture(scope='module')
def subject(task):
    config, host, reader = task
    data = AuditData(config, reader(), samples=4)
    return Subject(ModelFile(config, host).host(), data, reader())


def objects_of(data, split, role):
    """Labels of the objects or regions that the views hand out, from the samples themselves."""
    found = []
    for position in data.positions(split, role):
        sample = data.datasets[split][position]['data_samples']
        if 'gt_sem_seg' in sample:
            labels, counts = torch.unique(sample.gt_sem_seg.data, return_counts=True)
            labels = labels[counts >= 16].tolist()
        else:
            labels = sample.gt_instances.labels.tolist()
        found += [label for label in labels if label in data.labels(role)]
    return found


@pytest.mark.parametrize('split', [TRAIN, TEST])
@pytest.mark.parametrize('role', ['learn', 'forget', 'retain'])
def test_units_are_those_of_the_role(subject, split, role):
    units = subject.units(split, role)
    assert units.labels.tolist() == objects_of(subject.data, split, role)
    assert len(units.losses) == len(subject.data.positions(split, role))
    assert np.isfinite(units.losses).all() and (units.losses > 0).all()
    assert units.features.shape[0] == len(units.labels) and np.isfinite(units.features).all()
    assert units.logits is None


@pytest.mark.parametrize('role', ['learn', 'forget', 'retain'])
def test_each_unit_has_maps_of_its_own(subject, role):
    reader = type(subject.reader)(features='maps')
    units = read_units(subject.host, subject.data, reader, TEST, role)
    assert len(np.unique(units.features, axis=0)) == len(units.labels)


def test_both_splits_are_chosen_alike_and_metrics_as_tested(task, subject):
    config, *_ = task
    tested = config.test_dataloader.dataset.roles
    as_tested = subject.data.as_tested
    for role in ('learn', 'forget', 'retain'):
        train, test = (subject.data.datasets[split].views[role] for split in (TRAIN, TEST))
        assert test.mixed == train.mixed
        assert as_tested.views[role].mixed == tested[role].get('mixed', train.mixed)
    # The configs test images with objects of other roles, too, which none trains on.
    chosen = subject.data.datasets[TEST].views['forget']
    assert chosen.mixed != as_tested.views['forget'].mixed


def test_reading_again_gives_the_same(subject):
    units = subject.units(TEST, 'forget')
    again = read_units(subject.host, subject.data, subject.reader, TEST, 'forget')
    assert np.array_equal(units.losses, again.losses)
    assert np.array_equal(units.features, again.features)


@pytest.mark.parametrize('sizes', [1, 2])
def test_answers_of_many_images_are_those_of_each(subject, monkeypatch, sizes):
    data, reader, own = subject.data, copy.copy(subject.reader), subject.data.labels('retain')
    reader.score = reader.overlap = 1e-6  # an untrained detector is sure of nothing
    positions = data.positions(TEST, 'retain')
    (batch,) = data.batches(TEST, positions, len(positions))
    for image, sample in list(zip(batch['inputs'], batch['data_samples'], strict=True))[
        : sizes - 1
    ]:
        batch['inputs'][0] = image.repeat_interleave(2, dim=-1)  # twice as wide
        shape = (image.shape[-2], 2 * image.shape[-1])
        sample.set_metainfo(dict(img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0)))
        if 'gt_sem_seg' in sample:
            truth = sample.gt_sem_seg.data.repeat_interleave(2, dim=-1)
            del sample.gt_sem_seg
            sample.gt_sem_seg = PixelData(data=truth)
    whole = []
    with torch.no_grad():
        for image, sample in zip(batch['inputs'], batch['data_samples'], strict=True):
            one = dict(inputs=[image], data_samples=[copy.deepcopy(sample)])
            units = reader.read(subject.host, one, own)
            whole += zip(units.labels.tolist(), units.predicted.tolist(), strict=True)
        monkeypatch.setattr(subject.host, 'loss', None)  # it must not be called
        labels, predicted = reader.answers(subject.host, batch, own)
    asked = zip(labels.tolist(), predicted.tolist(), strict=True)
    assert len({given for _, given in whole}) > 1  # or any order would do
    assert sorted(whole) == sorted(asked)


@pytest.mark.parametrize('kind', [Relearning, PrototypeRelearning])
def test_relearning_trains_a_copy(subject, kind):
    case = Case(subject, subject, [], subject.data, subject.reader)
    state = {name: tensor.clone() for name, tensor in subject.host.state_dict().items()}
    part = kind(steps=1, samples=2, batch_size=2)
    assert part._steps_of(subject, case, 1.1, 0) is None  # it cannot be reached
    host = part._prepared(subject, case, 0)
    changed = {n for n, tensor in host.state_dict().items() if not torch.equal(state[n], tensor)}
    names = subject.reader.class_layers(host)
    assert bool(changed) == (kind is PrototypeRelearning)
    assert {name.rpartition('.')[0] for name in changed} == (set(names) if changed else set())
    assert all(torch.equal(state[n], tensor) for n, tensor in subject.host.state_dict().items())


@pytest.mark.slow
def test_the_whole_audit(task):
    config, host, _ = task
    parts = [
        'Answers',
        'AnswerDistance',
        'LinearProbe',
        'KNNProbe',
        dict(type='knowswap_mm.PrototypeProbe', shots=[1, 2]),
        dict(type='knowswap_mm.VisualPrompt', steps=1, repeats=1, samples=3, batch_size=2),
        dict(type='knowswap_mm.MembershipInference', resamples=50),
        dict(type='knowswap_mm.Relearning', steps=2, repeats=1, samples=3, batch_size=4),
        dict(type='knowswap_mm.PrototypeRelearning', steps=1, repeats=1, samples=3, batch_size=2),
        'MetricsByRole',
        'Similarity',
        'Drift',
    ]
    auditor = EVALUATORS.build(dict(type='knowswap_mm.Auditor', parts=parts, samples=6))
    report = auditor.audit_files(config, host, [host])
    attacks = [finding.attack for finding in report.findings]
    assert attacks.count('membership inference, loss') == 1 and len(attacks) == 10
    for finding in report.findings:  # one model in three roles
        assert finding.before.value == finding.after.value
        if finding.attack != 'answer distance':  # which needs two references
            assert finding.floor.value == finding.after.value
    assert {curve.places[-1] for curve in report.curves} == {'head'} and len(report.curves) == 4
    assert all('decoder' in place for curve in report.curves for place in curve.places[:-1])
    titles = [table.title for table in report.tables]
    assert 'Before and after, by role and class' in titles
    similarity = next(table for table in report.tables if 'similarity' in table.title)
    blocks = {row[0].split('.')[0] for row in similarity.rows}
    assert {'backbone'} < blocks
    measured = [cell for row in similarity.rows for cell in row[1:] if cell is not None]
    assert len(measured) > len(similarity.rows)
    assert measured == pytest.approx([1.0] * len(measured), abs=1e-3)
    drift = next(table for table in report.tables if 'Drift' in table.title)
    assert [row[1].value for row in drift.rows] == [1, 1]


def test_the_answer_to_an_object_is_the_best_box_that_overlaps_it():
    from mmengine.structures import InstanceData

    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60]])
    found = InstanceData(
        bboxes=torch.tensor(
            [[0.0, 0, 10, 9], [0, 0, 9, 10], [21, 20, 30, 30], [0, 0, 60, 60], [50, 50, 60, 60]]
        ),
        scores=torch.tensor([0.5, 0.6, 0.4, 0.9, 0.2]),
        labels=torch.tensor([1, 2, 3, 4, 5]),
    )
    # The box over everything overlaps none enough, the last one is not confident enough.
    assert called(boxes, found, 9).tolist() == [2, 3, 9]
    assert called(boxes, found[:0], 9).tolist() == [9, 9, 9]
    assert called(boxes[:0], found, 9).tolist() == []
