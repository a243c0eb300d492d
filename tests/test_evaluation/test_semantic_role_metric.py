"""mIoU of the classes of a role."""

import math

import mmseg.evaluation  # noqa: F401  registers the host's metric
import pytest
import torch
from mmengine.registry import METRICS

from knowswap_mm.evaluation import SemanticRoleMetric

NAMES = ('a', 'b', 'c', 'd')


def sample(predicted, label):
    return dict(
        pred_sem_seg=dict(data=torch.tensor([predicted])),
        gt_sem_seg=dict(data=torch.tensor([label], dtype=torch.uint8)),
    )


def measured(samples, role=NAMES, forget=(), **settings):
    metric = SemanticRoleMetric(**settings)
    roles = dict(forget=forget)
    metric.dataset_meta = dict(
        classes=NAMES, role_classes=role, ignore_index=255, class_roles=roles
    )
    metric.process(None, samples)
    return metric


def measure(samples, **settings):
    metric = measured(samples, **settings)
    return metric.compute_metrics(metric.results)


def test_by_hand():
    samples = [
        sample([[0, 0], [1, 1]], [[0, 1], [1, 255]]),
        sample([[2, 2], [2, 0]], [[2, 2], [1, 1]]),
    ]
    found = measure(samples, classwise=True)
    # a: 1 of 3; b: 1 of 4 (3 labelled wrong or missed); c: 2 of 3; d does not occur.
    wanted = {'IoU/a': 100 / 3, 'IoU/b': 100 / 4, 'IoU/c': 200 / 3}
    assert {k: v for k, v in found.items() if 'IoU/' in k} == pytest.approx(wanted)
    assert found['mIoU'] == pytest.approx(sum(wanted.values()) / 3)
    assert found['aAcc'] == pytest.approx(400 / 7)
    assert found['mAcc'] == pytest.approx((100 + 25 + 100) / 3)


def test_only_the_classes_of_the_role_count():
    samples = [sample([[0, 0], [1, 1]], [[0, 1], [1, 1]])]
    found = measure(samples, role=('b', 'd'), classwise=True)
    assert found == pytest.approx(
        {'mIoU': 200 / 3, 'mAcc': 200 / 3, 'aAcc': 200 / 3, 'IoU/b': 200 / 3}
    )
    # What is predicted of it where another class is labelled counts against it.
    wrong = [sample([[0, 1], [1, 1]], [[0, 0], [1, 1]])]
    assert measure(wrong, role=('b',))['mIoU'] == pytest.approx(200 / 3)


@pytest.mark.parametrize('role', [('d',), ()])
def test_a_role_without_pixels_is_zero_not_nan(role):
    found = measure([sample([[0]], [[0]])], role=role)
    assert found == dict(mIoU=0.0, mAcc=0.0, aAcc=0.0)


def test_all_classes_give_the_hosts_numbers():
    generator = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(5):
        label = torch.randint(0, 4, (1, 9, 7), generator=generator)
        label[0, 0] = 255
        predicted = torch.randint(0, 4, (1, 9, 7), generator=generator)
        samples.append(dict(pred_sem_seg=dict(data=predicted), gt_sem_seg=dict(data=label)))
    host = METRICS.build(dict(type='mmseg.IoUMetric'))
    host.dataset_meta = dict(classes=NAMES)
    host.process(None, samples)
    wanted = host.compute_metrics(host.results)
    found = measure(samples)
    for name in ('mIoU', 'mAcc', 'aAcc'):
        assert math.isclose(found[name], wanted[name], abs_tol=0.0051)  # the host rounds


def test_pixels_of_forgotten_classes_are_left_out_apart():
    """By hand: half of the pixels of forgotten b are called a."""
    samples = [sample([[0, 0], [0, 1]], [[0, 0], [1, 1]]), sample([[0, 2]], [[0, 0]])]
    found = measure(samples, role=('a',), forget=('b',), classwise=True)
    # a: three right, one missed (called c), one where b is.
    assert found['mIoU'] == pytest.approx(60) and found['mIoU_apart'] == pytest.approx(75)
    assert found['mAcc'] == found['mAcc_apart'] == pytest.approx(75)
    assert 'IoU/a_apart' not in found
    # The forgotten role itself, and images without such pixels, have no second figure.
    for settings in (dict(role=('b',), forget=('b',)), dict(role=('a',), forget=('d',))):
        assert not [name for name in measure(samples, **settings) if name.endswith('_apart')]


def test_what_pixels_are_called():
    """Of the classes of the role; a spare row of the head is no class."""
    samples = [sample([[0, 1], [1, 7]], [[1, 1], [1, 1]]), sample([[0, 3]], [[0, 255]])]
    metric = measured(samples, role=('b', 'd'))
    answers = metric.answers(metric.results)
    assert answers == dict(b=dict(units=4, answers={'b': 2, 'a': 1, '': 1}))
    assert metric.compute_metrics(metric.results)['mIoU'] == pytest.approx(50)
