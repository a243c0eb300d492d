"""What a run shows while it goes on: log lines, and scalars by role in the backends."""

import json
import re

import pytest
from mmengine.registry import RUNNERS

from knowswap_mm.engine.log import describe_position, describe_role
from knowswap_mm.evaluation import RoleMetric
from knowswap_mm.schedule import SwapSchedule
from tests.helpers.swap_configs import train

SIZES = dict(learn=10, forget=10, retain=10)


def schedule():
    weights = dict(sparsity=0.0)
    phases = [
        dict(kind='learn', iters=100, weights=weights),
        dict(kind='forget', iters=50, weights=weights, bound=9.0),
    ]
    return SwapSchedule.from_config(dict(phases=phases), SIZES, 4)


@pytest.mark.parametrize(
    ('iteration', 'eta', 'text'),
    [
        (0, None, 'phase1_learn [  1/100]'),
        (49, 100.0, 'phase1_learn [ 50/100] ends in 0:00:50'),
        (99, 50.0, 'phase1_learn [100/100] ends in 0:00:00'),
        (100, 49.0, 'phase2_forget [ 1/50]'),
        (149, 0.0, 'phase2_forget [50/50]'),
    ],
)
def test_where_a_run_is(iteration, eta, text):
    assert describe_position(schedule(), iteration, eta) == text


@pytest.mark.parametrize(
    ('values', 'text'),
    [
        ({'': 0.786, '_apart': 0.841}, 'retain 78.6 (84.1 where no forgotten class is)'),
        ({'': 0.786, '_apart': 0.791}, 'retain 78.6'),
        ({'': 0.786}, 'retain 78.6'),
        ({'_apart': 0.791}, ''),
    ],
)
def test_what_is_said_of_a_role(values, text):
    metric = RoleMetric(
        dict(type='knowswap_mm.PerClassAccuracy'), primary='coco/bbox_mAP', scale=1.0
    )
    found = {f'retain/coco/bbox_mAP{end}': value for end, value in values.items()}
    assert describe_role('retain', metric, found) == text


def test_lines_of_the_log(run):
    log = next(run.glob('*/*.log')).read_text()
    assert re.search(r'phase1_learn \[2/6\] ends in 0:00:0\d  Iter\(train\) \[ 2/11\]', log)
    assert re.search(r'phase2_forget \[2/5\]  Iter\(train\) \[ 8/11\]', log)
    shown = re.findall(r'learn (\S+)  forget (\S+)  retain (\S+)  \(accuracy/top1, %\)', log)
    states = json.loads((run / 'swap_results.json').read_text())['states']
    wanted = [
        tuple(
            f'{state["metrics"][f"{r}/accuracy/top1"]:.1f}' for r in ('learn', 'forget', 'retain')
        )
        for state in states.values()
    ]
    assert shown == wanted


def test_a_test_has_the_line_and_no_phase(seen_config, tmp_path):
    config = seen_config(tmp_path)
    runner = RUNNERS.build(config)
    runner.test()
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert re.search(r'learn \S+  forget \S+  retain \S+  \(accuracy/top1, %\)  Iter\(test\)', log)
    assert 'phase1_learn' not in log


def test_local_scalars_are_named_by_role_at_the_iteration(run):
    lines = [json.loads(line) for line in next(run.glob('*/vis_data/scalars.json')).open()]
    evaluations = [line for line in lines if 'iter' not in line]
    assert [line['step'] for line in evaluations] == [0, 6, 11]
    for line in evaluations:
        assert {f'{r}/accuracy/top1' for r in ('learn', 'forget', 'retain')} <= set(line)
    trained = {key for line in lines if 'iter' in line for key in line}
    assert {'learn/raw', 'retain/raw', 'forget/raw', 'forget/bound_hit', 'lr', 'time'} <= trained


def test_tensorboard_has_the_same(seen_config, tmp_path):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = seen_config(tmp_path / 'run')
    config.vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
    config.visualizer.vis_backends = config.vis_backends
    train(config)
    (events,) = (tmp_path / 'run').glob('*/vis_data/events*')
    found = EventAccumulator(str(events))
    found.Reload()
    points = found.Scalars('forget/accuracy/top1')
    assert [point.step for point in points] == [0, 6, 11]
    assert [point.step for point in found.Scalars('learn/raw')] == [2, 4, 6]
    assert {'learn_0', 'forget_4', 'retain_8'} <= set(found.Tags()['images'])
    states = json.loads((tmp_path / 'run' / 'swap_results.json').read_text())['states']
    wanted = [state['metrics']['forget/accuracy/top1'] for state in states.values()]
    assert [point.value for point in points] == pytest.approx(wanted)
