"""Runs of deep forgetting: steered by held-out samples, exactly resumed, alike in all processes."""

from pathlib import Path

import pytest
import torch

from knowswap_mm.engine.hooks.feature_matching import FeatureMatchingHook as Hook
from knowswap_mm.engine.hooks.feature_matching import expected, target_of
from knowswap_mm.errors import CheckpointError
from knowswap_mm.models.losses.feature_matching import FeatureMatchingLoss
from tests.helpers import detection_configs, segmentation_configs
from tests.helpers.processes import train_together
from tests.helpers.runs import train as run_train
from tests.helpers.swap_configs import (
    FORGOTTEN,
    OLD,
    assert_same_weights,
    forget,
    learn,
    swap_config,
    train,
    weights_of,
)

LOSS = dict(type='knowswap_mm.FeatureMatchingLoss', every=2, queue=32, target=0.75)
ROW = OLD.index(FORGOTTEN)
HEAD = 'host.head.layers.head'


def make(root, folder, host, phases=None, loss=None, **changes):
    phases = phases or [learn(iters=3), forget(iters=6, bound='none', merge_learned=True)]
    changes = dict(dropout=0.1, policy='all', batch_size=48) | changes
    config = swap_config(root, folder, phases, host=host, **changes)
    config.model.loss = LOSS | (loss or {})
    # Of 12 images a class 4 are held out; the phases are too short for a look of the guard.
    config.swap.update(guard=dict(looks=1), holdout=0.34)
    config.val_cfg = config.val_dataloader = config.val_evaluator = None
    config.default_hooks.checkpoint.interval = 1
    return config


@pytest.fixture(scope='module')
def whole(picture_tree, host, tmp_path_factory):
    folder = tmp_path_factory.mktemp('whole')
    return folder, *train(make(picture_tree, folder, host))


def stored(path):
    return torch.load(path, weights_only=False)['swap']['feature_matching']


def test_the_hook_comes_with_the_objective(whole):
    _, runner, _ = whole
    kinds = [type(hook).__name__ for hook in runner.hooks]
    assert kinds.count('FeatureMatchingHook') == 1
    assert runner.swapper.swapping_loss.forgotten == (ROW,)


def test_the_weight_is_steered_towards_the_target(whole):
    folder, _, _ = whole
    weights = [stored(folder / f'iter_{n}.pth')['objective']['weights'] for n in (4, 5, 6, 7)]
    assert weights[0] == [] and 2.0 not in weights[1] and weights[1] == weights[2]
    assert len(weights[1]) > 1  # each place has a probe of its own
    assert stored(folder / 'iter_4.pth')['target'] == [0.75] * len(weights[1])


def test_the_rows_are_reset_where_the_phase_ends(whole):
    folder, runner, _ = whole
    before, after = weights_of(folder / 'iter_8.pth'), weights_of(folder / 'iter_9.pth')
    assert_same_weights(after, weights_of(folder / 'phase2_forget.pth'))
    others = [row for row in range(7) if row != ROW]
    bias, weight = after[f'{HEAD}.bias'], after[f'{HEAD}.weight']
    assert float(bias[ROW]) == pytest.approx(float(bias[others].mean()), abs=1e-5)
    assert float((weight[ROW] - weight[others].mean(0)).abs().max()) < 0.1
    assert not torch.allclose(before[f'{HEAD}.bias'][ROW], bias[ROW])
    assert torch.equal(runner.swapper.host.head.layers.head.bias, bias)


def test_no_module_is_added(whole, tmp_path):
    folder, runner, _ = whole
    state = weights_of(folder / 'iter_9.pth')
    assert not [key for key in state if 'swapping_loss' in key or 'teacher' in key]


@pytest.mark.parametrize('at', [2, 3, 4, 7])
def test_a_resumed_run_is_the_same_bit_by_bit(at, whole, picture_tree, host, tmp_path):
    folder, _, recorder = whole
    config = make(picture_tree, tmp_path, host)
    config.resume, config.load_from = True, str(folder / f'iter_{at}.pth')
    _, again = train(config)
    assert again.column('loss') == recorder.column('loss')[at:]
    assert_same_weights(weights_of(tmp_path / 'iter_9.pth'), weights_of(folder / 'iter_9.pth'))
    left, right = (stored(path / 'iter_9.pth') for path in (folder, tmp_path))
    assert left['target'] == right['target']
    assert left['objective']['weights'] == right['objective']['weights']
    for one, other in zip(left['objective']['queues'], right['objective']['queues'], strict=True):
        assert torch.equal(one['features'], other['features']) and one['next'] == other['next']


def test_a_checkpoint_without_the_state_is_refused(whole, picture_tree, host, tmp_path):
    folder, _, _ = whole
    checkpoint = torch.load(folder / 'iter_5.pth', weights_only=False)
    del checkpoint['swap']['feature_matching']
    torch.save(checkpoint, tmp_path / 'iter_5.pth')
    config = make(picture_tree, tmp_path / 'run', host)
    config.resume, config.load_from = True, str(tmp_path / 'iter_5.pth')
    with pytest.raises(CheckpointError, match='no state of FeatureMatchingLoss.*Fix: resume'):
        train(config)


def test_without_held_out_samples_the_weight_stays(picture_tree, host, tmp_path):
    config = make(picture_tree, tmp_path, host, [forget(iters=4, bound='none')])
    config.swap.update(guard=False)
    train(config)
    assert stored(tmp_path / 'iter_4.pth')['objective']['weights'] == []
    said = ''.join(path.read_text() for path in tmp_path.rglob('*.log'))
    assert 'The weight of the feature matching stays as it is' in said


def test_the_target_is_what_the_learn_classes_had_before_the_swap(picture_tree, host, tmp_path):
    """Colours: the host tells classes apart that it never saw."""
    phases = [forget(iters=2, bound='none'), learn(iters=1)]
    train(make(picture_tree, tmp_path, host, phases, loss=dict(target=None)))
    kept = stored(tmp_path / 'iter_2.pth')
    assert kept['target'] == [min(each) for each in zip(*kept['before'].values(), strict=True)]
    assert min(kept['target']) > 0.5


def test_the_target_is_measured_as_often_as_there_are_samples(
    picture_tree, host, tmp_path, monkeypatch
):
    """At as many at once as the probes that steer look at, in turns."""
    seen, found, look, probe = [], [], Hook._rows, Hook._probe
    for name, value in dict(COST=0.01, FEWEST=2, EACH=2).items():
        monkeypatch.setattr(f'{Hook.__module__}.{name}', value)
    monkeypatch.setattr(Hook, '_rows', lambda *a: seen.append(a[2]) or look(*a))
    monkeypatch.setattr(Hook, '_probe', lambda *a: found.append((a[2], probe(*a))) or found[-1][1])
    phases = [learn(iters=1), forget(iters=2, bound='none')]
    runner, _ = train(make(picture_tree, tmp_path, host, phases))
    assert runner.train_dataloader.dataset.held_out_sizes == dict(learn=8, forget=4, retain=16)
    few, most = range(2), range(6)  # a probe has three times as many of the role that it asks for
    assert seen == [
        dict(forget=few, retain=few), dict(learn=most), dict(learn=range(2, 8)),
        dict(learn=few, retain=few), dict(forget=most),
        # Two of each of four classes.
        dict(learn=few, forget=few), dict(retain=range(8)), dict(retain=range(8, 16)),
        dict(learn=few, forget=most, retain=few),  # of the phase
    ]  # fmt: skip
    hook = next(each for each in runner.hooks if isinstance(each, Hook))
    # Images that are looked at once take no room of those that are looked at again.
    kept = dict(key[:2] for key in hook._held._kept)
    assert kept == dict(learn=few, forget=range(4), retain=few)  # four are held out
    before = stored(tmp_path / 'iter_3.pth')['before']
    shares = [each for role, each in found if role == 'learn']
    assert before['learn'] == pytest.approx([sum(place) / 2 for place in zip(*shares, strict=True)])


def test_steered_by_what_the_next_probe_will_find(picture_tree, host, tmp_path, monkeypatch):
    assert expected([0.5, 0.6], [0.8, 0.5]) == pytest.approx([0.2, 0.7])
    assert expected([0.5], None) == [0.5]  # a run that a former version began
    probes = iter([[0.9] * 7, [0.8] * 7, [0.6] * 7])
    seen = []
    monkeypatch.setattr(Hook, '_measure_before', lambda hook, runner: setattr(hook, 'before', {}))
    monkeypatch.setattr(Hook, '_probe', lambda *_: next(probes))
    monkeypatch.setattr(FeatureMatchingLoss, 'steer', lambda loss, found, *_: seen.append(found))
    train(make(picture_tree, tmp_path, host, [learn(iters=1), forget(iters=4, bound='none')]))
    # The first one is of where the phase begins; features go on to fall as they do.
    assert [each[0] for each in seen] == pytest.approx([0.7, 0.4])


def test_the_target_is_that_of_classes_as_hard_as_the_forgotten_ones():
    assert target_of(0.8, 0.6, None) == target_of(0.8, 0.6, 0.8) == 0.6
    assert target_of(0.9, 0.5, 0.75) == pytest.approx(0.5 * 1.2)  # they are easier
    assert target_of(0.6, 0.5, 0.75) == pytest.approx(0.5 * 0.8)  # they are harder
    assert target_of(0.5, 0.6, 0.5) == target_of(0.5, 0.6, None) == 0.5  # no more than there was


@pytest.mark.parametrize('policy', ['frozen', 'new_rows'])
def test_rows_that_stay_are_refused(policy, picture_tree, host, tmp_path, raises_config_error):
    config = make(picture_tree, tmp_path, host, policy=policy)
    with raises_config_error('model.head.policy', policy, "policy = 'all'"):
        train(config)
    config = make(picture_tree, tmp_path / 'kept', host, policy=policy)
    config.custom_hooks = [dict(type='knowswap_mm.FeatureMatchingHook', reset_rows=False)]
    train(config)


def test_the_hook_alone_is_refused(picture_tree, host, tmp_path, raises_config_error):
    config = make(picture_tree, tmp_path, host)
    config.model.loss = None
    config.swap.phases[1].bound = 3.0
    config.custom_hooks = [dict(type='knowswap_mm.FeatureMatchingHook')]
    with raises_config_error('model.loss.type', 'SwappingLoss', 'FeatureMatchingLoss'):
        train(config)


def test_a_bound_is_refused(picture_tree, host, tmp_path, raises_config_error):
    config = make(picture_tree, tmp_path, host, [forget(iters=2, bound=9.0)])
    with raises_config_error('swap.phases.0.bound', 9.0, "bound='none'"):
        train(config)


@pytest.mark.distributed
def test_processes_have_the_same_queues_weight_and_rows(picture_tree, host, tmp_path):
    """Two processes with half the batch each go on from what the first one stored."""
    hooks = [dict(type='SwapRecorder', folder=str(tmp_path / 'record'))]
    changes = dict(batch_size=24, dropout=0.0, custom_hooks=hooks)
    train_together(make(picture_tree, tmp_path, host, **changes), 2)
    ranks = [torch.load(tmp_path / f'record/rank{r}.pt', weights_only=False) for r in (0, 1)]
    assert_same_weights(ranks[0]['weights'], ranks[1]['weights'])
    changes = dict(batch_size=48, dropout=0.0)
    train(make(picture_tree, tmp_path / 'alone', host, **changes))
    pair, alone = (stored(path / 'iter_9.pth') for path in (tmp_path, tmp_path / 'alone'))
    assert pair['target'] == alone['target']
    for left, right in zip(pair['objective']['queues'], alone['objective']['queues'], strict=True):
        assert left['next'] == right['next']
        assert sorted(left['labels'].tolist()) == sorted(right['labels'].tolist())


def test_averages_of_the_model_have_the_reset_rows(picture_tree, host, tmp_path):
    hooks = [dict(type='EMAHook', momentum=0.3)]
    phases = [forget(iters=4, bound='none')]
    train(make(picture_tree, tmp_path, host, phases, custom_hooks=hooks))
    saved = weights_of(tmp_path / 'phase1_forget.pth')  # the average
    others = [row for row in range(7) if row != ROW]
    bias = saved[f'{HEAD}.bias']
    assert float(bias[ROW]) == pytest.approx(float(bias[others].mean()), abs=1e-5)


def detection(folder, phases):
    scenes = detection_configs.write_scenes(folder / 'scenes')
    weights = detection_configs.write_host(folder / 'host.pth')
    return detection_configs.detection_config(scenes, folder / 'run', weights, phases)


def segmentation(folder, phases):
    scenes = segmentation_configs.write_scenes(folder / 'scenes')
    weights = segmentation_configs.write_host(folder / 'host.pth')
    return segmentation_configs.segmentation_config(scenes, folder / 'run', weights, phases)


@pytest.mark.parametrize('task', [detection, segmentation])
def test_detectors_and_segmentors_forget_deeply_too(task, tmp_path):
    """DINO and Mask2Former: a queue for each decoder layer, probes, and rows that were reset."""
    config = task(tmp_path, [dict(kind='forget', iters=4, bound='none')])
    config.swap.update(guard=dict(looks=1), holdout=0.3)
    config.model.loss = LOSS
    config.model.head.policy = 'all'
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    config.default_hooks.pop('pictures', None)
    config.default_hooks.checkpoint.interval = 1
    runner = run_train(config)
    folder = Path(config.work_dir)
    state = stored(folder / 'iter_4.pth')
    assert len(state['objective']['queues']) > 1
    unseen = state['objective']['unseen']  # how sure it was of the classes that it may learn later
    assert len(unseen) == len(state['objective']['queues'])
    assert all(len(each) and torch.equal(each, each.sort().values) for each in unseen)
    assert all((queue['labels'] >= 0).any() for queue in state['objective']['queues'])
    before, after = (weights_of(folder / f'iter_{n}.pth') for n in (3, 4))
    classes, names = runner.train_dataloader.dataset.classes, list(runner.swapper.head_rows)
    rows = [classes.names.index(name) for name in classes.of('forget')]
    assert any(name.endswith('bias') for name in names)
    for name in names:
        change = (after[f'host.{name}'] - before[f'host.{name}']).abs()
        assert change[rows].max() > 0.01
