"""Decisions in a run: what is drawn, learned at, saved and resumed."""

import json
import math

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, RUNNERS

from knowswap_mm.datasets.sampler import SwapSampler
from knowswap_mm.errors import CheckpointError, ConfigError
from knowswap_mm.io.checkpoints import safe_load
from knowswap_mm.runs.reader import RunFolder
from knowswap_mm.schedule import Decision
from tests.helpers.processes import train_together
from tests.helpers.swap_configs import (
    assert_same_weights,
    forget,
    learn,
    swap_config,
    train,
    weights_of,
)

PHASES = [learn(iters=6), forget(iters=5, merge_learned=True), learn(iters=9)]
DECISIONS = [
    dict(at=3, phase=0, kind='back', to=1, lr_factor=0.5, reason='retain fell'),
    dict(at=6, phase=0, kind='extend', iters=2),
    dict(at=12, phase=1, kind='end'),
    dict(at=14, phase=2, kind='stop', to=13),
]
#: Begin and end of each learning rate schedule, its planned length and factor. The third one has
#: room for the warm-up only.
SPANS = [(0, 3, 6, 1.0), (3, 8, 5, 0.5), (8, 10, 2, 0.5), (10, 12, 5, 1.0), (12, 14, 9, 1.0)]
WARM_UP = [
    dict(type='LinearLR', start_factor=0.1, end=2),
    dict(type='CosineAnnealingLR', eta_min=0.0, begin=2),
]
LAST = 'phase3_learn.pth'


@HOOKS.register_module()
class DecidingHook(Hook):
    """Decides at fixed iterations; only what the first process says counts."""

    priority = 80

    def __init__(self, decisions):
        self.decisions = {each['at']: Decision(**each) for each in decisions}
        self.told = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        mine = self.decisions.get(runner.iter + 1)
        if runner.rank:
            mine = None if mine else Decision(runner.iter + 1, 0, 'stop')
        runner.decide(mine)

    def after_decision(self, runner, decision):
        self.told.append((decision.at, runner.swap_schedule.total, runner.max_iters))


@pytest.fixture(scope='module')
def make_config(picture_tree, host):
    def make(folder, phases=PHASES, decisions=DECISIONS, workers=None, hooks=(), **changes):
        given = dict(param_scheduler=WARM_UP, default_hooks__checkpoint__interval=1) | changes
        config = swap_config(
            picture_tree, folder, phases, host=host, dropout=0.1, policy='new_rows', **given
        )
        config.custom_hooks = [dict(type='DecidingHook', decisions=list(decisions)), *hooks]
        config.train_dataloader.update(workers or {})
        return config

    return make


def without_evaluation(config):
    config.val_cfg = config.val_dataloader = config.val_evaluator = None
    return config


@pytest.fixture(scope='module')
def whole(make_config, tmp_path_factory):
    """The uninterrupted run, which loads its data itself."""
    folder = tmp_path_factory.mktemp('whole')
    runner, recorder = train(make_config(folder, hooks=[dict(type='knowswap_mm.BlockProfileHook')]))
    return folder, runner, recorder


def rate(step, length, factor):
    if step < 2:  # the second step of the warm-up has the full rate
        return 1e-2 * factor * (0.1 + 0.9 * step)
    return 1e-2 * factor * (1 + math.cos(math.pi * (step - 2) / (length - 2))) / 2


def test_the_learning_rate_starts_anew_in_each_segment(whole):
    _, runner, recorder = whole
    wanted = [rate(i, n, f) for begin, end, n, f in SPANS for i in range(end - begin)]
    assert recorder.column('iteration') == list(range(14)) == list(range(runner.max_iters))
    found = recorder.column('lr')
    for begin, *_, factor in SPANS:
        assert found[begin] == pytest.approx(1e-3 * factor)
    assert found == pytest.approx(wanted, abs=1e-9)


def test_hooks_and_log_are_told(whole):
    folder, runner, _ = whole
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, DecidingHook))
    assert hook.told == [(3, 22, 22), (6, 24, 24), (12, 21, 21), (14, 14, 14)]
    assert runner.message_hub.get_info('max_iters') == 14
    log = next(folder.glob('*/*.log')).read_text()
    for text in (
        'After iteration 3: phase1_learn goes back to iteration 1 and on from there at 0.5 times '
        'the rate (retain fell). The run has 22 iterations now.',
        'After iteration 14: the run stops here, in phase3_learn, with the state after iteration',
        'phase1_learn goes on as decided: iterations 8 to 9, learning rate 0.0005',
    ):
        assert text in log


def test_what_the_run_folder_says(whole):
    folder, runner, _ = whole
    run, record = RunFolder(folder), json.loads((folder / 'run.json').read_text())
    schedule = json.loads((folder / 'schedule.json').read_text())
    given = [Decision(**each).to_dict() for each in DECISIONS]
    assert run.decisions == schedule['decisions'] == record['decisions'] == given
    assert {key: schedule[key] for key in runner.swap_schedule.to_dict()} == (
        runner.swap_schedule.to_dict()
    )
    assert (run.total, run.finished) == (14, True)
    ends = {name: state['iteration'] for name, state in run.results.states.items()}
    assert ends == dict(start=0, phase1_learn=10, phase2_forget=12, phase3_learn=14)
    stored = safe_load(folder / LAST)['swap']
    assert stored['schedule'] == runner.swap_schedule.base.to_dict()
    assert stored['decisions'] == given


def test_the_profile_follows(whole):
    folder, *_ = whole
    phases = json.loads((folder / 'block_profile.json').read_text())['phases']
    assert [(each['begin'], each['end']) for each in phases] == [(0, 10), (10, 12), (12, 14)]
    for each in phases:
        assert each['ends'][-1] == each['end'] and each['ends'] == sorted(set(each['ends']))
        assert sum(each['steps']) == each['end'] - each['begin']
        sizes = {len(each[key]) for key in ('steps', 'gradient', 'share', 'update', 'change')}
        assert sizes == {len(each['ends'])}


def paths_of(runner):
    """What the final schedule says each iteration sees: role, label and file."""
    dataset = runner.train_dataloader.dataset
    sampler = SwapSampler(schedule=runner.swap_schedule, seed=runner.seed)
    found = []
    for i in range(runner.swap_schedule.total):
        samples = [dataset[address]['data_samples'] for address in sampler.batch(i)]
        found.append([(s.role, int(s.gt_label), s.img_path) for s in samples])
    return found


@pytest.mark.parametrize('persistent', [False, True])
def test_workers_that_prefetch_give_the_batches_of_the_decided_schedule(
    persistent, whole, make_config, tmp_path
):
    folder, _, recorder = whole
    workers = dict(num_workers=2, prefetch_factor=3, persistent_workers=persistent)
    runner, again = train(without_evaluation(make_config(tmp_path, workers=workers)))
    assert again.column('samples') == recorder.column('samples') == paths_of(runner)
    assert again.column('loss') == recorder.column('loss')
    assert_same_weights(weights_of(tmp_path / LAST), weights_of(folder / LAST))


# With the decision itself (a step back, an extension, an end), inside the segments that they made,
# and at the boundary of one.
@pytest.mark.parametrize(
    'point', ['iter_3', 'iter_5', 'iter_6', 'iter_8', 'phase1_learn', 'iter_12', 'iter_14']
)
def test_resumed_it_is_the_whole_run(point, whole, make_config, tmp_path):
    folder, whole_runner, recorder = whole
    config = make_config(tmp_path, resume=True, hooks=[dict(type='knowswap_mm.BlockProfileHook')])
    config.load_from = str(folder / f'{point}.pth')
    runner, again = train(config)
    begin = 10 if point.startswith('phase') else int(point[5:])
    assert again.column('iteration') == list(range(begin, 14))
    for name in ('lr', 'samples', 'phases', 'loss'):
        assert again.column(name) == [step[name] for step in recorder.steps[begin:]], name
    assert runner.swap_schedule == whole_runner.swap_schedule
    assert_same_weights(weights_of(tmp_path / LAST), weights_of(folder / LAST))
    # The profile is written where a phase ends.
    for name in ('swap_results.json', 'schedule.json', 'block_profile.json')[: 3 - (begin == 14)]:
        assert (tmp_path / name).read_text() == (folder / name).read_text(), name


def test_a_schedule_over_two_phases_goes_on(make_config, tmp_path):
    phases = [learn(iters=4), forget(iters=4, restart_lr=False)]
    cosine = dict(type='CosineAnnealingLR', eta_min=0.0)
    given = phases, [dict(at=3, phase=0, kind='end')]
    config = make_config(tmp_path / 'whole', *given, param_scheduler=cosine)
    _, recorder = train(without_evaluation(config))
    wanted = [1e-2 * (1 + math.cos(math.pi * i / 8)) / 2 for i in range(7)]
    assert recorder.column('lr') == pytest.approx(wanted)
    for point, begin in (('phase1_learn', 3), ('iter_5', 5)):
        config = make_config(tmp_path / point, *given, param_scheduler=cosine, resume=True)
        config.load_from = str(tmp_path / f'whole/{point}.pth')
        _, again = train(without_evaluation(config))
        assert again.column('lr') == recorder.column('lr')[begin:]


@pytest.mark.parametrize('stored', [7, [dict(at=3)], [dict(DECISIONS[0], at=100)]])
def test_decisions_that_make_no_sense(stored, whole, make_config, tmp_path):
    checkpoint = safe_load(whole[0] / 'iter_3.pth')
    checkpoint['swap']['decisions'] = stored
    torch.save(checkpoint, tmp_path / 'bad.pth')
    config = make_config(tmp_path / 'run', resume=True)
    config.load_from = str(tmp_path / 'bad.pth')
    with pytest.raises(CheckpointError, match='bad.pth holds decisions that make no sense: deci'):
        train(config)


def test_windows_of_accumulation_end_with_a_segment(make_config, tmp_path):
    decisions = [
        dict(at=4, phase=0, kind='back', to=1),
        dict(at=9, phase=0, kind='extend', iters=1),  # where the phase would have ended
        dict(at=12, phase=1, kind='stop'),
    ]
    phases = [learn(iters=6), forget(iters=5)]
    changes = dict(optim_wrapper__accumulative_counts=2, param_scheduler=None)
    config = make_config(tmp_path, phases, decisions, **changes)
    runner = RUNNERS.build(without_evaluation(config))
    steps = []

    class Watch(Hook):
        def before_train(self, runner):
            optimizer = runner.optim_wrapper.optimizer
            optimizer.register_step_pre_hook(lambda *_: steps.append(runner.iter))

    runner.register_hook(Watch())
    runner.train()
    # Segments 0 to 3, 4 to 8, 9, and the next phase from 10 on.
    assert steps == [1, 3, 5, 7, 8, 9, 11]
    decisions[0]['at'] = 3
    config = without_evaluation(make_config(tmp_path / 'inside', phases, decisions, **changes))
    with pytest.raises(ConfigError, match='decision.at = 3: lies inside a window') as caught:
        train(config)
    assert caught.value.key == 'decision.at'


def test_epochs_of_a_length_that_was_decided(make_config, tmp_path):
    cosine = dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True)
    decisions = [dict(at=4, phase=0, kind='back', to=2), dict(at=11, phase=1, kind='stop')]
    # A batch of 32 has 16 retain samples, and there are 48.
    phases, changes = [learn(epochs=2), forget(epochs=2)], dict(batch_size=32)
    config = make_config(tmp_path, phases, decisions, param_scheduler=cosine, **changes)
    _, recorder = train(without_evaluation(config))
    segments = [1e-2] * 3 + [5e-3], [1e-2] * 3 + [5e-3], [1e-2] * 3
    assert recorder.column('lr') == pytest.approx(sum(segments, []))


def test_a_decision_about_another_iteration(make_config, tmp_path):
    class Late(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            runner.decide(Decision(5, 0, 'stop'))

    runner = RUNNERS.build(without_evaluation(make_config(tmp_path, decisions=[])))
    runner.register_hook(Late())
    with pytest.raises(ConfigError, match='decision.at = 5: 1 iterations are done.*with at=1'):
        runner.train()


@pytest.mark.distributed
def test_what_the_first_process_decides_counts(whole, make_config, tmp_path):
    hooks = [dict(type='SwapRecorder', folder=str(tmp_path / 'memory'))]
    config = without_evaluation(make_config(tmp_path, batch_size=4, hooks=hooks))
    train_together(config, 2)
    memory = [torch.load(tmp_path / f'memory/rank{r}.pt', weights_only=False) for r in (0, 1)]
    assert_same_weights(memory[0]['weights'], memory[1]['weights'])
    for mine, other, together in zip(*(m['steps'] for m in memory), whole[2].steps, strict=True):
        assert sorted(mine['samples'] + other['samples']) == sorted(together['samples'])
        assert mine['lr'] == other['lr'] == pytest.approx(together['lr'])
