"""Runs with a guard: what it saves, that its looks leave no trace, and that a resume is exact."""

import json
import logging

import pytest
import torch
from mmengine.registry import RUNNERS

from knowswap_mm.io.checkpoints import safe_load
from tests.helpers.processes import train_together
from tests.helpers.swap_configs import assert_same_weights, forget, learn, train, weights_of


def results(folder, state):
    states = json.loads((folder / 'swap_results.json').read_text())['states']
    return {key.split('/')[0]: value for key, value in states[state]['metrics'].items()}


def kinds(runner):
    return [decision.kind for decision in runner.swap_schedule.decisions]


@pytest.fixture
def warned(monkeypatch):
    """Messages of runs, from warnings on."""
    messages = []
    handle = logging.Logger.handle
    monkeypatch.setattr(
        logging.Logger,
        'handle',
        lambda self, r: (r.levelno >= 30 and messages.append(r.getMessage()), handle(self, r)),
    )
    return messages


def test_a_step_that_destroys_the_model_is_taken_back_and_made_gentler(guarded, tmp_path, warned):
    runner, recorder = train(guarded(tmp_path, [forget(iters=30)], lr=0.4))
    assert 'back' in kinds(runner) and kinds(runner)[-1] != 'stop'
    found = results(tmp_path, 'phase1_forget')
    assert found['retain'] > 95 and found['forget'] < 5
    (reason, *_) = [text for text in warned if 'watched loss of retain rose' in text]
    for words in ('between iterations 0 and 5 of phase1_forget', 'its bound is 105', 'nats'):
        assert words in reason
    assert recorder.column('lr')[5] == pytest.approx(0.2)


def test_a_run_that_no_gentler_step_saves_ends_with_the_model_of_the_start(
    guarded, host, tmp_path, warned
):
    phases = [forget(iters=30), learn(iters=30)]
    runner, recorder = train(guarded(tmp_path, phases, lr=20.0, guard=dict(steps_back=1)))
    assert kinds(runner) == ['back', 'stop'] and len(recorder.steps) == runner.iter < 60
    assert results(tmp_path, 'phase1_forget')['retain'] > 95
    start, end = weights_of(host), runner.swapper.state_dict()
    rows = start['head.layers.head.weight']
    assert torch.equal(end['host.head.layers.head.weight'][: len(rows)], rows)
    assert not any(each.any() for name, each in end.items() if 'lora_B' in name)
    reason = runner.swap_schedule.decisions[-1].reason
    assert reason in warned
    for words in ('swap.phases.0.bound (now 105)', 'optim_wrapper.optimizer.lr', 'clip_grad'):
        assert words in reason
    assert (tmp_path / 'run.json').read_text().count('What to change') == 1


def test_a_guard_that_need_not_act_leaves_no_trace(guarded, tmp_path):
    """The same weights, bit by bit, as training on the same samples without a guard."""
    phases = [learn(iters=10), forget(iters=10, merge_learned=True)]
    ends = []
    for name, guard in (('with', dict(tolerance=1e6, extend=0)), ('without', False)):
        folder = tmp_path / name
        config = guarded(folder, phases, guard, dropout=0.1)
        if not guard:
            config.swap.pop('holdout')
            config.train_dataloader.dataset.holdout = 0.34
        runner, recorder = train(config)
        assert kinds(runner) == []
        checkpoint = safe_load(folder / 'phase2_forget.pth')
        ends.append((checkpoint['state_dict'], recorder.column('loss'), recorder.column('samples')))
        hooks = [type(hook).__name__ for hook in runner.hooks]
        assert ('GuardHook' in hooks) is bool(guard)
        log = next(folder.glob('*/*.log')).read_text()
        assert log.count('Watched losses after iteration') == (6 if guard else 0)
    assert_same_weights(ends[0][0], ends[1][0])
    assert ends[0][1:] == ends[1][1:]


@pytest.fixture(scope='module')
def whole(guarded, tmp_path_factory):
    """An uninterrupted run that goes back, and then on; with all its checkpoints."""
    folder = tmp_path_factory.mktemp('whole')
    make = _restless(guarded)
    runner, recorder = train(make(folder))
    assert kinds(runner)[0] == 'back'
    return make, folder, runner, recorder


def _restless(guarded):
    def make(folder):
        return guarded(
            folder, [forget(iters=15)], lr=4.0, dropout=0.1, default_hooks__checkpoint__interval=1
        )

    return make


def compare(whole, again, folder):
    _, first, runner, recorder = whole
    runner_again, recorder_again = again
    begin = recorder_again.steps[0]['iteration']
    assert recorder_again.column('loss') == recorder.column('loss')[begin:]
    assert recorder_again.column('lr') == recorder.column('lr')[begin:]
    assert runner_again.swap_schedule == runner.swap_schedule
    ends = [safe_load(path / 'phase1_forget.pth') for path in (first, folder)]
    assert_same_weights(*(end['state_dict'] for end in ends))
    for key, state in ends[0]['optimizer']['state'].items():
        for name, value in state.items():
            assert torch.equal(value, ends[1]['optimizer']['state'][key][name])


@pytest.mark.parametrize('point', ['iter_4.pth', 'iter_5.pth', 'iter_9.pth'])
def test_a_resumed_run_equals_the_whole_one(point, whole, tmp_path):
    """Before the decision, right behind it, and later; each with the states of the guard."""
    make, folder, *_ = whole
    at = safe_load(folder / 'iter_5.pth')['swap']
    assert at['decisions'] and at['guard']['good'] == 0 and at['holdout'] == 0.34
    assert [look['at'] for look in at['guard']['looks']] == [0]
    config = make(tmp_path)
    config.resume, config.load_from = True, str(folder / point)
    compare(whole, train(config), tmp_path)


@pytest.mark.parametrize('after', [False, True], ids=['before', 'after'])
def test_killed_between_a_look_and_what_it_decides(after, whole, tmp_path, monkeypatch):
    make, *_ = whole
    runner = RUNNERS.build(make(tmp_path))
    decide = runner.decide

    def killed(decision):
        if decision is not None:
            if after:
                decide(decision)
            raise KeyboardInterrupt

    runner.decide = killed
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    config = make(tmp_path)
    config.resume, config.load_from = 'auto', None
    compare(whole, train(config), tmp_path)


def test_a_run_without_a_guard_goes_on_without_one(guarded, tmp_path, warned):
    """As one of an earlier version, whose checkpoints say nothing of what is held out."""
    config = guarded(tmp_path / 'old', guard=False, default_hooks__checkpoint__interval=3)
    runner, _ = train(config)
    config = guarded(tmp_path / 'new')
    config.resume, config.load_from = True, str(tmp_path / 'old' / 'iter_3.pth')
    again, _ = train(config)
    assert again.swap_schedule == runner.swap_schedule
    assert_same_weights(runner.swapper.state_dict(), again.swapper.state_dict())


@pytest.mark.parametrize('ema', [False, True], ids=['plain', 'ema'])
def test_states_come_back_whole(ema, guarded, script, tmp_path):
    """Weights, moments and averages after a step back are those of the checkpoint of that state."""
    script(at10=dict(kind='back', to=5, lr_factor=0.5))
    hooks = [dict(type='EMAHook', momentum=0.3)] if ema else []
    changes = dict(default_hooks__checkpoint__interval=5, custom_hooks=hooks, dropout=0.1)
    runner, recorder = train(guarded(tmp_path, [forget(iters=15)], **changes))
    assert kinds(runner) == ['back'] and len(recorder.steps) == 20
    before, after = (safe_load(tmp_path / f'iter_{n}.pth') for n in (5, 10))
    assert_same_weights(before['state_dict'], after['state_dict'])
    if ema:
        assert_same_weights(before['ema_state_dict'], after['ema_state_dict'])
    states = [each['optimizer']['state'] for each in (before, after)]
    assert states[0] and all(
        torch.equal(value, states[1][key][name])
        for key, state in states[0].items()
        for name, value in state.items()
    )


def test_accumulation_expansion_and_the_best_state(guarded, script, tmp_path):
    """Looks fall where windows end; a phase of new rows alone goes back, too; the best is kept."""
    script(
        at8=dict(kind='back', to=0, lr_factor=0.5),
        at28=dict(kind='end', to=20),
    )
    phases = [dict(kind='expand', iters=12), forget(iters=8)]
    config = guarded(
        tmp_path, phases, guard=dict(looks=2), default_hooks__checkpoint__interval=1,
        optim_wrapper__accumulative_counts=4,
    )  # fmt: skip
    config.model.head.policy = 'new_rows'
    runner, recorder = train(config)
    assert kinds(runner) == ['back', 'end']
    assert_same_weights(
        weights_of(tmp_path / 'iter_20.pth'), weights_of(tmp_path / 'phase2_forget.pth')
    )
    found = {path.name for path in tmp_path.glob('iter_*.pth')}
    assert {'iter_8.pth', 'iter_20.pth', 'iter_28.pth'} <= found and 'iter_9.pth' not in found


def test_full_training(guarded, script, tmp_path):
    script(at5=dict(kind='back', to=0, lr_factor=0.5))
    weights = dict(learn=1.0, retain=1.0, sparsity=0.0)
    config = guarded(
        tmp_path, [learn(iters=10, weights=weights)], default_hooks__checkpoint__interval=5
    )
    config.model.pop('lora')
    loss = dict(type='knowswap_mm.WeightedSumLoss')
    config.model.update(type='knowswap_mm.FullTrainingSwapper', loss=loss)
    runner, _ = train(config)
    assert kinds(runner) == ['back']
    start, back = weights_of(config.load_from), weights_of(tmp_path / 'iter_5.pth')
    assert torch.equal(start['backbone.ln1.weight'], back['host.backbone.ln1.weight'])


def test_an_extension(guarded, tmp_path):
    runner, recorder = train(guarded(tmp_path, [learn(iters=12)], lr=3e-3))
    assert kinds(runner) == ['extend', 'extend'] and len(recorder.steps) == 24
    assert 'the watched learn loss is' in runner.swap_schedule.decisions[0].reason


def test_it_is_off_where_nothing_can_be_seen(guarded, host, tmp_path, monkeypatch):
    runner, _ = train(guarded(tmp_path / 'few', [forget(iters=2)], holdout=0.01))
    log = next((tmp_path / 'few').glob('*/*.log')).read_text()
    assert 'The guard watches samples: phase1_forget every 2 iterations' in log
    monkeypatch.setattr('knowswap_mm.models.role_model.reader_of', lambda *_: None)
    runner, _ = train(guarded(tmp_path / 'none', [forget(iters=2)]))
    assert runner.swap_schedule.role_sizes['retain'] == 48
    log = next((tmp_path / 'none').glob('*/*.log')).read_text()
    assert 'The guard is off: no sample reader knows this kind of host' in log


def test_a_host_that_cannot_be_measured_trains_on(guarded, tmp_path, monkeypatch, warned):
    def broken(*_):
        raise RuntimeError('no loss for you')

    monkeypatch.setattr('knowswap_mm.models.role_model.RoleModel.sample_losses', broken)
    runner, recorder = train(guarded(tmp_path))
    assert len(recorder.steps) == 12 and kinds(runner) == []
    (text,) = [text for text in warned if 'does not watch' in text]
    assert 'phase1_forget' in text and 'no loss for you' in text


@pytest.mark.distributed
def test_two_processes_decide_alike(guarded, whole, tmp_path):
    _, folder, runner, _ = whole
    config = _restless(guarded)(tmp_path)
    config.train_dataloader.batch_size = 8
    train_together(config, 2)
    found = json.loads((tmp_path / 'run.json').read_text())['decisions']
    assert [each['kind'] for each in found][0] == 'back'
    assert found[0]['at'] == runner.swap_schedule.decisions[0].at
