import mmpretrain.evaluation  # noqa: F401  registers the metrics
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmpretrain.structures import DataSample

from knowswap_mm.errors import ConfigError, SampleError
from knowswap_mm.evaluation import PerClassAccuracy, RoleMetric, swap_score
from knowswap_mm.registry import METRICS

CLASSES = ('cat', 'dog', 'fox', 'owl', 'bat')
ACCURACY = dict(type='mmpretrain.Accuracy', topk=(1, 2))
PER_CLASS = dict(type='knowswap_mm.PerClassAccuracy')
LABELS = dict(forget=(0, 1), retain=(2, 3), learn=(4,))


def sample(role, index, label, scores):
    data = DataSample(metainfo=dict(role=role, sample_index=index))
    return data.set_gt_label(label).set_pred_score(scores).set_pred_label(scores.argmax())


@pytest.fixture
def samples():
    """Predictions of 20 images, right about half of the time, roles all mixed up."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for index in range(20):
        role = ('learn', 'forget', 'retain')[index % 3]
        choice = int(torch.randint(len(LABELS[role]), (1,), generator=generator))
        label = LABELS[role][choice]
        scores = torch.rand(5, generator=generator)
        scores[label] += 0.4
        # Indices count within the data set of all roles, or within a role: both must work.
        found.append(sample(role, index // 3, label, scores.softmax(0)))
    return found


def evaluator_of(metric, **settings):
    evaluator = Evaluator(
        METRICS.build(dict(type='knowswap_mm.RoleMetric', metric=metric, **settings))
    )
    evaluator.dataset_meta = dict(classes=CLASSES)
    return evaluator


def evaluate(evaluator, samples, batch_size=6):
    for start in range(0, len(samples), batch_size):
        evaluator.process(samples[start : start + batch_size], None)
    return evaluator.evaluate(len(samples))


def by_hand(samples, role, k):
    hits = [
        int(s.gt_label) in s.pred_score.topk(k).indices.tolist()
        for s in samples
        if s.metainfo['role'] == role
    ]
    return 100 * sum(hits) / len(hits)


def test_equals_computing_by_hand_per_role(samples):
    found = evaluate(evaluator_of(ACCURACY), samples)
    wanted = {
        f'{role}/accuracy/top{k}': by_hand(samples, role, k) for role in LABELS for k in (1, 2)
    }
    wanted['swap/score'] = swap_score({role: wanted[f'{role}/accuracy/top1'] for role in LABELS})
    assert found == pytest.approx(wanted)
    assert len({wanted[f'{role}/accuracy/top1'] for role in LABELS}) == 3, 'roles must differ'


@pytest.mark.parametrize('batch_size', [1, 7, 20])
def test_neither_order_nor_batches_matter(samples, batch_size):
    wanted = evaluate(evaluator_of([ACCURACY, PER_CLASS]), samples)
    found = evaluate(evaluator_of([ACCURACY, PER_CLASS]), samples[::-1], batch_size)
    assert found == pytest.approx(wanted)


def test_repeated_samples_count_once(samples):
    wanted = evaluate(evaluator_of([ACCURACY, PER_CLASS]), samples)
    found = evaluate(evaluator_of([ACCURACY, PER_CLASS]), samples + samples[:5] + samples[:1])
    assert found == pytest.approx(wanted)


def test_nothing_is_left_for_the_next_evaluation(samples):
    evaluator = evaluator_of(ACCURACY)
    first = evaluate(evaluator, samples)
    second = evaluate(evaluator, samples[:9])
    assert first != second
    assert second == pytest.approx(evaluate(evaluator_of(ACCURACY), samples[:9]))


@pytest.mark.parametrize('missing', ['role', 'sample_index'])
def test_a_sample_without_role_or_index_is_an_error(samples, missing):
    meta = dict(role='learn', sample_index=0)
    del meta[missing]
    bare = DataSample(metainfo=meta).set_gt_label(0).set_pred_score(torch.ones(5))
    with pytest.raises(SampleError, match='RoleDataset'):
        evaluator_of(ACCURACY).process([samples[0], bare], None)


def test_an_unknown_role_of_a_sample_is_an_error():
    with pytest.raises(SampleError, match="'lern'"):
        evaluator_of(ACCURACY).process([sample('lern', 0, 0, torch.ones(5))], None)


def test_metrics_by_role(samples):
    metric = dict(learn=ACCURACY, retain=[ACCURACY, PER_CLASS])
    found = evaluate(evaluator_of(metric), samples)
    wanted = {f'learn/accuracy/top{k}': by_hand(samples, 'learn', k) for k in (1, 2)}
    wanted |= {f'retain/accuracy/top{k}': by_hand(samples, 'retain', k) for k in (1, 2)}
    for label in LABELS['retain']:
        own = [s for s in samples if int(s.gt_label) == label]
        wanted[f'retain/class/{CLASSES[label]}'] = by_hand(own, 'retain', 1)
    measured = {role: wanted[f'{role}/accuracy/top1'] for role in ('learn', 'retain')}
    wanted['swap/score'] = swap_score(measured)
    assert found == pytest.approx(wanted)


def test_an_unknown_role_in_the_config_is_an_error():
    with pytest.raises(ConfigError, match='lern'):
        RoleMetric(dict(lern=ACCURACY))


def test_a_role_that_is_not_measured_is_left_out(samples):
    some = [s for s in samples if s.metainfo['role'] != 'forget']
    found = evaluate(evaluator_of(ACCURACY), some)
    assert not any(key.startswith('forget/') for key in found)
    measured = {role: by_hand(samples, role, 1) for role in ('learn', 'retain')}
    assert found['swap/score'] == pytest.approx(swap_score(measured))


def test_primary_and_scale(samples):
    found = evaluate(evaluator_of(ACCURACY, primary='accuracy/top2', scale=200.0), samples)
    values = {role: by_hand(samples, role, 2) for role in LABELS}
    assert found['swap/score'] == pytest.approx(swap_score(values, 200.0))


def test_the_config_is_left_alone(samples):
    metric = [dict(ACCURACY), dict(PER_CLASS)]
    RoleMetric(metric)
    assert metric == [ACCURACY, PER_CLASS]


def test_per_class_accuracy():
    metric = PerClassAccuracy()
    metric.dataset_meta = dict(classes=('cat', 'dog'))
    pairs = [(0, 0), (0, 0), (0, 1), (0, 2), (1, 1), (2, 2), (2, 0)]
    metric.process(
        None, [dict(gt_label=torch.tensor([a]), pred_label=torch.tensor([b])) for a, b in pairs]
    )
    found = metric.evaluate(len(pairs))
    # A label without a name goes by its number; a class without an image has no entry.
    assert found == {'class/cat': 50.0, 'class/dog': 100.0, 'class/2': 50.0}


def test_what_each_class_is_called(samples):
    """By role and class the images and the most frequent answers, of the last evaluation alone."""
    evaluator = evaluator_of([ACCURACY, PER_CLASS])
    evaluate(evaluator, samples + samples[:5])
    (metric,) = evaluator.metrics
    wanted = {}
    for each in samples:
        role, name = each.metainfo['role'], CLASSES[int(each.gt_label)]
        entry = wanted.setdefault(role, {}).setdefault(name, dict(units=0, answers={}))
        entry['units'] += 1
        answer = CLASSES[int(each.pred_label)]
        entry['answers'][answer] = entry['answers'].get(answer, 0) + 1
    assert metric.answers == wanted
    evaluate(evaluator, [each for each in samples if each.metainfo['role'] != 'forget'])
    assert metric.answers == {role: wanted[role] for role in ('learn', 'retain')}
    evaluator = evaluator_of([ACCURACY])
    evaluate(evaluator, samples)
    assert evaluator.metrics[0].answers == {}


def test_only_the_most_frequent_answers_are_kept():
    metric = PerClassAccuracy()
    metric.dataset_meta = dict(classes='abcdefgh')
    pairs = [(0, answer) for answer in range(8) for _ in range(answer)]
    (entry,) = metric.answers(pairs).values()
    assert entry == dict(units=28, answers=dict(h=7, g=6, f=5, e=4, d=3))


def test_per_class_accuracy_in_one_pass(samples):
    found = evaluate(evaluator_of([PER_CLASS], primary='class/cat'), samples)
    for role, labels in LABELS.items():
        for label in labels:
            own = [s for s in samples if int(s.gt_label) == label]
            assert found[f'{role}/class/{CLASSES[label]}'] == pytest.approx(by_hand(own, role, 1))


def test_a_misspelt_primary_metric_is_an_error(samples):
    with pytest.raises(ConfigError, match=r"primary = 'accuracy/top3'.*'accuracy/top1'"):
        evaluate(evaluator_of(ACCURACY, primary='accuracy/top3'), samples)


def test_metrics_of_the_host_library_by_role(monkeypatch):
    """A metric of ours names its counterpart or is left out; one of the host is its own."""
    metric = METRICS.build(
        dict(
            type='knowswap_mm.RoleMetric',
            metric=dict(
                learn=[ACCURACY, PER_CLASS],
                forget=dict(type='knowswap_mm.CocoRoleMetric', metric='bbox', prefix='boxes'),
                retain=dict(type='knowswap_mm.SemanticRoleMetric', classwise=True),
            ),
        )
    )
    accuracy, recall = metric.plain_configs('learn', {})
    assert accuracy == ACCURACY
    assert recall == dict(type='mmpretrain.SingleLabelMetric', items=('recall',), average=None)
    assert metric.plain_configs('forget', dict(ann_file='x.json')) == [
        dict(type='mmdet.CocoMetric', metric='bbox', ann_file='x.json', prefix='boxes')
    ]
    assert metric.plain_configs('retain', dict(ignore_index=7)) == [
        dict(type='mmseg.IoUMetric', iou_metrics=['mIoU'], ignore_index=7)
    ]
    monkeypatch.delattr(PerClassAccuracy, 'plain_config')
    assert metric.plain_configs('learn', {}) == [ACCURACY]
