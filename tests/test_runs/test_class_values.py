"""Values of single classes are found whatever the task calls them."""

from types import SimpleNamespace

import pytest

from knowswap_mm.runs.classes import class_values
from knowswap_mm.runs.results import SwapResults


def record(metrics, names, scale=100.0):
    results = SwapResults('m', scale)
    results.add('start', 0, metrics)
    return SimpleNamespace(results=results, classes=dict(learn=names))


@pytest.mark.parametrize(
    ('pattern', 'scale'),
    [('class/{}', 100.0), ('coco/{}_precision', 1.0), ('seg/IoU/{}', 100.0)],
)
def test_names_of_the_three_tasks(pattern, scale):
    names = ['bag', 'bag_2', 'a/b', 'IoU']
    metrics = {f'learn/{pattern.format(name)}': scale * n / 10 for n, name in enumerate(names)}
    metrics |= {'learn/accuracy/top1': 1.0, 'learn/bag': 1.0, 'forget/class/bag': 9.0}
    metric, values = class_values(record(metrics, names, scale), 'learn')
    assert metric == pattern.format('*')
    assert values == {name: {'start': pytest.approx(10.0 * n)} for n, name in enumerate(names)}


@pytest.mark.parametrize('metrics', [{}, {'learn/accuracy/top1': 1.0}, {'forget/class/bag': 1.0}])
def test_nothing_is_made_up(metrics):
    assert class_values(record(metrics, ['bag', 'top']), 'learn') == ('', {})
