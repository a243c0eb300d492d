"""Losses that are not finite: seen on all ranks together, written down, stopped or skipped."""

import json

import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, RUNNERS, TRANSFORMS

from knowswap_mm.engine import NonfiniteHook
from knowswap_mm.errors import ConfigError, PhaseError
from tests.helpers.processes import join, start, train_together
from tests.helpers.swap_configs import (
    assert_same_weights,
    forget,
    learn,
    swap_config,
    train,
    weights_of,
)

PHASES = [learn(iters=5), forget(iters=5)]


@HOOKS.register_module()
class BadPictures(Hook):
    """Makes the last image of a batch infinite; remembers the state before and after each step.

    Args:
        at: Iterations.
        rank: The rank that gets it.
        first: Whether it is the first image instead, which is of the phase's own role.
    """

    priority = 'VERY_LOW'

    def __init__(self, at=(), rank=0, first=False):
        self.at, self.rank, self.first = at, rank, first
        self.unchanged = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.before = state_of(runner)
        if runner.iter in self.at and runner.rank == self.rank:
            pictures = [picture.float() for picture in data_batch['inputs']]
            pictures[0 if self.first else -1][:] = torch.inf
            data_batch['inputs'] = pictures

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        after = state_of(runner)
        # Moments may be made in a first step that is skipped; then they are zero.
        before = self.before + [torch.zeros_like(value) for value in after[len(self.before) :]]
        if all(torch.equal(left, right) for left, right in zip(before, after, strict=True)):
            self.unchanged.append(runner.iter)


def state_of(runner):
    """Copies of what trains and of the optimizer's state."""
    weights = [p.detach().clone() for p in runner.swapper.parameters() if p.requires_grad]
    states = runner.optim_wrapper.optimizer.state.values()
    return weights + [torch.as_tensor(v).clone() for s in states for v in s.values()]


@pytest.fixture
def make_config(picture_tree, host):
    def make(folder, bad=None, nonfinite=None, **changes):
        hooks = [] if bad is None else [dict(type='BadPictures', **bad)]
        settings = dict(host=host, batch_size=8, policy='new_rows', custom_hooks=hooks)
        config = swap_config(picture_tree, folder, PHASES, **(settings | changes))
        if nonfinite is not None:
            config.swap.nonfinite = nonfinite
        return config

    return make


def stopped(config):
    """The message of a run that stops, and the runner."""
    runner = RUNNERS.build(config)
    with pytest.raises(PhaseError) as caught:
        runner.train()
    return str(caught.value), runner


def written(folder):
    return [json.loads(path.read_text()) for path in sorted(folder.glob('nonfinite_*.json'))]


@pytest.mark.parametrize('first', [True, False])
@pytest.mark.parametrize('at', [1, 7])
def test_a_bad_step_stops_the_run_and_is_written_down(at, first, make_config, tmp_path):
    """In the forget phase, too, where an infinite loss is beyond the bound."""
    bad = dict(at=[at], first=first)
    message, runner = stopped(make_config(tmp_path, bad, dict(interval=2)))
    assert runner.iter == at
    phase = 'phase1_learn' if at < 5 else 'phase2_forget'
    assert f'Iteration {at} in {phase}: the loss is not finite on rank 0: {{' in message
    assert 'Fix: lower optim_wrapper' in message and f'nonfinite_iter_{at}_rank0.json' in message
    (found,) = written(tmp_path)
    assert (found['iteration'], found['phase'], found['ranks']) == (at, phase, [0])
    own = ('learn' if at < 5 else 'forget') if first else 'retain'
    assert {'loss', f'{own}/raw'} <= set(found['nonfinite'])
    assert found['terms']['loss'] in ('nan', 'inf')
    other = ({'learn', 'forget', 'retain'} - {own}) & {s['role'] for s in found['samples']}
    assert all(isinstance(found['terms'][f'{role}/raw'], float) for role in other)
    assert found['learning_rates'] == [pytest.approx(1e-2)]
    assert len(found['samples']) == 8
    assert all(sample['img_path'].endswith('.png') for sample in found['samples'])
    assert bool(list(tmp_path.glob('phase1_learn.pth'))) == (at >= 5)


def test_the_samples_written_down_are_those_of_the_step(make_config, tmp_path):
    runner = RUNNERS.build(make_config(tmp_path, dict(at=[2]), dict(interval=1)))
    seen = {}

    class Spy(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            seen[runner.iter] = [(s.role, s.img_path) for s in data_batch['data_samples']]

    runner.register_hook(Spy())
    with pytest.raises(PhaseError):
        runner.train()
    (found,) = written(tmp_path)
    assert [(s['role'], s['img_path']) for s in found['samples']] == seen[2]


def test_an_exploding_run_names_the_first_bad_step(make_config, tmp_path):
    message, runner = stopped(make_config(tmp_path, nonfinite=dict(interval=4), lr=1e30))
    assert runner.iter == 3
    (found,) = written(tmp_path)
    assert f'Iteration {found["iteration"]} in' in message and found['iteration'] in (1, 2, 3)
    assert not list(tmp_path.glob('*.pth'))


def test_a_bad_step_between_looks_is_found_at_the_end_of_the_phase(make_config, tmp_path):
    message, runner = stopped(make_config(tmp_path, lr=1e30))
    assert 'in phase1_learn: the loss is not finite' in message
    assert runner.iter == 5 and not list(tmp_path.glob('*.pth'))


def test_no_checkpoint_has_weights_that_are_not_finite(make_config, tmp_path):
    config = make_config(tmp_path, dict(at=[2]), default_hooks__checkpoint__interval=2)
    stopped(config)
    (path,) = tmp_path.glob('*.pth')
    assert path.name == 'iter_2.pth'
    assert all(torch.isfinite(value).all() for value in weights_of(path).values())


def test_a_weight_that_breaks_under_a_finite_loss_is_not_saved(make_config, tmp_path):
    runner = RUNNERS.build(make_config(tmp_path))

    class Breaking(Hook):
        priority = 'VERY_HIGH'

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if runner.iter == 4:
                next(iter(runner.swapper.adapters.values())).data.fill_(torch.nan)

    runner.register_hook(Breaking(), priority='VERY_HIGH')
    with pytest.raises(PhaseError, match=r'lora_A\S* is not finite. Nothing was saved.*Fix: lower'):
        runner.train()
    assert not list(tmp_path.glob('*.pth'))


def test_a_host_that_fails_on_such_numbers_is_explained(make_config, tmp_path, monkeypatch):
    """As the matcher of a detector does, before the next look."""
    runner = RUNNERS.build(make_config(tmp_path, lr=1e30))
    loss = runner.swapper.host.loss

    def picky(pictures, samples):
        losses = loss(pictures, samples)
        if not torch.isfinite(losses['loss']):
            raise ValueError('matrix contains invalid numeric entries')
        return losses

    monkeypatch.setattr(runner.swapper.host, 'loss', picky)
    with pytest.raises(PhaseError, match='not finite.*had failed on it: matrix contains') as caught:
        runner.train()
    assert isinstance(caught.value.__cause__, ValueError)


def test_other_failures_of_a_host_are_left_alone(make_config, tmp_path, monkeypatch):
    runner = RUNNERS.build(make_config(tmp_path))

    def broken(*_):
        raise ValueError('something else')

    monkeypatch.setattr(runner.swapper.host, 'loss', broken)
    with pytest.raises(ValueError, match='something else'):
        runner.train()


@TRANSFORMS.register_module()
class SoftLabels(BaseTransform):
    """Scores of the classes as labels; one image has an infinite one."""

    def transform(self, results):
        results['gt_score'] = torch.nn.functional.one_hot(
            torch.tensor(results['gt_label']), 7
        ).float()
        if results['img_path'].endswith('x/05.png'):
            results['gt_score'][0] = torch.inf
        return results


def soft_labels(config):
    config.model.host.head.loss.use_soft = True
    config.model.host.head.cal_acc = False
    for role in config.train_dataloader.dataset.roles.values():
        role.dataset.pipeline.insert(-1, dict(type='SoftLabels'))
    config.val_cfg = config.val_dataloader = config.val_evaluator = None
    config.swap.phases = [learn(iters=8)]
    return config


def test_infinite_labels(make_config, tmp_path):
    message, _ = stopped(soft_labels(make_config(tmp_path / 'stop', nonfinite=dict(interval=1))))
    assert 'learn/raw' in message
    (found,) = written(tmp_path / 'stop')
    assert any(sample['img_path'].endswith('x/05.png') for sample in found['samples'])
    train(soft_labels(make_config(tmp_path / 'skip', nonfinite='skip')))
    assert len(written(tmp_path / 'skip')) in (1, 2)
    weights = weights_of(tmp_path / 'skip' / 'phase1_learn.pth')
    assert all(torch.isfinite(value).all() for value in weights.values())


@pytest.mark.parametrize('fused', [False, True])
@pytest.mark.parametrize('first', [True, False])
def test_a_skipped_step_changes_nothing(first, fused, make_config, tmp_path):
    """Neither weights nor moments nor step counts; with a fused optimizer the kernel decides."""
    bad = dict(at=[1, 2, 6], first=first)
    config = make_config(tmp_path, bad, dict(action='skip', interval=3))
    config.optim_wrapper.optimizer.fused = fused
    runner, recorder = train(config)
    hook = next(hook for hook in runner.hooks if isinstance(hook, BadPictures))
    assert hook.unchanged == [1, 2, 6]
    assert recorder.column('iteration') == list(range(10))
    assert [found['iteration'] for found in written(tmp_path)] == [1, 2, 6]
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert log.count('The step was skipped') == 3
    assert not hasattr(runner.optim_wrapper.optimizer, 'found_inf')
    assert not runner.swapper.spread_nonfinite


@pytest.mark.parametrize('fused', [False, True])
def test_without_bad_steps_both_actions_train_the_same(fused, make_config, tmp_path):
    for action in ('stop', 'skip'):
        config = make_config(tmp_path / action, nonfinite=action, dropout=0.1)
        config.optim_wrapper.optimizer.fused = fused
        config.optim_wrapper.clip_grad = dict(max_norm=0.5)
        train(config)
    left, right = (weights_of(tmp_path / a / 'phase2_forget.pth') for a in ('stop', 'skip'))
    assert_same_weights(left, right)


@pytest.mark.parametrize('fused', [False, True])
def test_too_many_bad_steps_in_a_row_stop_a_run_that_skips(fused, make_config, tmp_path):
    nonfinite = dict(action='skip', limit=3, interval=1 if not fused else 5)
    config = make_config(tmp_path, dict(at=[0, 1, 3, 4, 5, 6]), nonfinite)
    config.optim_wrapper.optimizer.fused = fused
    message, runner = stopped(config)
    assert 'Iteration 5 in phase2_forget' in message
    assert 'That is step 3 of this kind in a row, and swap.nonfinite.limit is 3' in message
    assert len(written(tmp_path)) == 5


def test_accumulated_gradients_are_skipped_as_a_whole(make_config, tmp_path):
    config = make_config(tmp_path, dict(at=[2]), dict(action='skip', interval=1))
    config.optim_wrapper.accumulative_counts = 2
    runner, _ = train(config)
    hook = next(hook for hook in runner.hooks if isinstance(hook, BadPictures))
    # Steps are made in iterations 1, 3 and 4, where the phase ends, 6, 8 and 9; that of iteration 3
    # has a bad half.
    assert hook.unchanged == [0, 2, 3, 5, 7]


@pytest.mark.distributed
def test_what_one_rank_sees_stops_all(make_config, tmp_path):
    config = make_config(tmp_path, dict(at=[6], rank=1), dict(interval=4))
    assert join(start(config, 2)) == [1, 1]
    (found,) = written(tmp_path)
    assert found['rank'] == 1 and found['ranks'] == [1] and found['iteration'] == 6
    for rank in (0, 1):
        said = (tmp_path / f'rank{rank}.txt').read_text()
        assert 'Iteration 6 in phase2_forget: the loss is not finite on rank 1' in said
        assert 'nonfinite_iter_6_rank1.json' in said
    assert not (tmp_path / 'phase2_forget.pth').exists()


@pytest.mark.distributed
@pytest.mark.parametrize('fused', [False, True])
def test_what_one_rank_sees_is_skipped_by_all(fused, make_config, tmp_path):
    bad = dict(at=[1, 6], rank=1, first=True)
    config = make_config(tmp_path, bad, dict(action='skip', interval=5))
    config.custom_hooks.append(dict(type='SwapRecorder', folder=str(tmp_path / 'record')))
    config.optim_wrapper.optimizer.fused = fused
    train_together(config, 2)
    ranks = [torch.load(tmp_path / f'record/rank{r}.pt', weights_only=False) for r in (0, 1)]
    assert_same_weights(ranks[0]['weights'], ranks[1]['weights'])
    for rank in ranks:
        assert [step['adam_step'] for step in rank['steps']] == [0, 1, 1, 2, 3, 4, 5, 5, 6, 7]
    assert {(each['iteration'], each['rank']) for each in written(tmp_path)} >= {(1, 1), (6, 1)}


def test_bad_settings(raises_config_error, make_config, tmp_path):
    with raises_config_error('swap.nonfinite.action', 'ignore'):
        NonfiniteHook('ignore')
    for name in ('limit', 'interval'):
        for value in (0, 1.5, True, '3'):
            with raises_config_error(f'swap.nonfinite.{name}', value):
                NonfiniteHook(**{name: value})
    for nonfinite, key in (
        (3, 'swap.nonfinite'),
        (dict(limits=3), 'swap.nonfinite.limits'),
        ('ignore', 'swap.nonfinite.action'),
    ):
        with pytest.raises(ConfigError) as caught:
            RUNNERS.build(make_config(tmp_path, nonfinite=nonfinite))
        assert caught.value.key == key
