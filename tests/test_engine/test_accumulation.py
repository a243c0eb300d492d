"""Windows of gradient accumulation: none reaches into another phase, or into a checkpoint."""

import os
import signal

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, RUNNERS

from knowswap_mm.errors import CheckpointError, ConfigError
from knowswap_mm.runs.checkpoints import read_latest
from tests.helpers.swap_configs import (
    assert_same_weights,
    forget,
    learn,
    swap_config,
    train,
    weights_of,
)

PHASES = [learn(iters=5), forget(iters=4, merge_learned=True)]
WRAPPERS = ['OptimWrapper', 'knowswap_mm.SwapOptimWrapper']


@HOOKS.register_module()
class GradientWatch(Hook):
    """Notes in which iterations a step was made, and which gradients a phase finds."""

    priority = 'LOWEST'

    def __init__(self, stop_at=None):
        self.stop_at, self.steps, self.found = stop_at, [], {}

    def before_train(self, runner):
        optimizer = runner.optim_wrapper.optimizer
        optimizer.register_step_pre_hook(lambda *_: self.steps.append(runner.iter))

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        gradients = [p.grad for p in runner.swapper.parameters() if p.grad is not None]
        self.found[runner.iter] = sum(float(g.abs().sum()) for g in gradients)
        if runner.iter == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)


def make_config(
    picture_tree, host, folder, phases=PHASES, counts=2, wrapper='OptimWrapper', **more
):
    return swap_config(
        picture_tree,
        folder,
        phases,
        host=host,
        dropout=0.1,
        policy='new_rows',
        param_scheduler=dict(type='CosineAnnealingLR', eta_min=1e-5),
        default_hooks__checkpoint__interval=1,
        optim_wrapper__type=wrapper,
        optim_wrapper__accumulative_counts=counts,
        **more,
    )


def watched(config):
    runner = RUNNERS.build(config)
    watch = GradientWatch()
    runner.register_hook(watch, priority='LOWEST')
    runner.train()
    return watch


@pytest.mark.parametrize('wrapper', WRAPPERS)
def test_windows_end_with_the_phase(wrapper, picture_tree, host, tmp_path):
    watch = watched(make_config(picture_tree, host, tmp_path / 'two', wrapper=wrapper))
    assert watch.steps == [1, 3, 4, 6, 8]
    assert [i for i, size in watch.found.items() if size == 0] == [0, 2, 4, 5, 7]
    # mmengine itself closes the last window of a run: the phase is as if it were alone.
    train(make_config(picture_tree, host, tmp_path / 'one', PHASES[:1], wrapper=wrapper))
    left, right = (weights_of(tmp_path / f / 'phase1_learn.pth') for f in ('two', 'one'))
    assert_same_weights(left, right)


def test_a_phase_shorter_than_a_window_makes_a_step(picture_tree, host, tmp_path):
    phases = [learn(iters=2), forget(iters=1), learn(iters=3)]
    config = make_config(picture_tree, host, tmp_path / 'a', phases, counts=4)
    assert watched(config).steps == [1, 2, 5]
    # A window of one iteration takes that iteration's gradient as it is.
    single = make_config(picture_tree, host, tmp_path / 'b', [learn(iters=1)], counts=4)
    plain = make_config(picture_tree, host, tmp_path / 'c', [learn(iters=1)], counts=1)
    for config in (single, plain):
        train(config)
    assert_same_weights(*(weights_of(tmp_path / f / 'phase1_learn.pth') for f in 'bc'))


@pytest.fixture(scope='module')
def whole(picture_tree, host, tmp_path_factory):
    folder = tmp_path_factory.mktemp('accumulated') / 'run'
    config = make_config(picture_tree, host, folder, train_cfg__val_interval=3)
    config.default_hooks.checkpoint.update(save_best='swap/score', rule='greater')
    train(config)
    return folder


def test_checkpoints_are_written_at_the_ends_of_windows(whole):
    found = sorted(path.name for path in whole.glob('iter_*.pth'))
    assert found == [f'iter_{i}.pth' for i in (2, 4, 5, 7, 9)]
    for path in whole.glob('iter_*.pth'):
        checkpoint = torch.load(path, weights_only=False)
        assert f'iter_{checkpoint["meta"]["iter"]}.pth' == path.name
        assert not checkpoint['swap']['window_open']


@pytest.mark.parametrize('point', ['iter_2.pth', 'iter_4.pth', 'phase1_learn.pth', 'iter_7.pth'])
def test_resume_is_exact(point, whole, picture_tree, tmp_path):
    train(make_config(picture_tree, None, tmp_path, resume=str(whole / point)))
    assert_same_weights(*(weights_of(f / 'phase2_forget.pth') for f in (tmp_path, whole)))


def test_resume_inside_a_window_is_refused(whole, picture_tree, host, tmp_path):
    config = make_config(picture_tree, host, tmp_path, counts=3, resume=str(whole / 'iter_4.pth'))
    with pytest.raises(CheckpointError, match='inside a window.*accumulative_counts.*Fix: resume'):
        train(config)


def test_a_stop_finishes_the_window(whole, picture_tree, host, tmp_path):
    hooks = [dict(type='GradientWatch', stop_at=2)]
    config = make_config(picture_tree, host, tmp_path, custom_hooks=hooks)
    config.default_hooks.checkpoint.interval = 100
    with pytest.raises(SystemExit):
        train(config)
    assert read_latest(tmp_path)[0] == tmp_path / 'iter_4.pth'
    train(make_config(picture_tree, host, tmp_path, resume='auto'))
    assert_same_weights(*(weights_of(f / 'phase2_forget.pth') for f in (tmp_path, whole)))


@HOOKS.register_module()
class SavingHook(Hook):
    """Saves where it likes."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 2:
            runner.save_checkpoint(runner.work_dir, 'iter_3.pth', by_epoch=False)


def test_a_checkpoint_inside_a_window_is_never_gone_on_from(picture_tree, host, tmp_path):
    train(make_config(picture_tree, host, tmp_path, custom_hooks=[dict(type='SavingHook')]))
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert 'inside a window of optim_wrapper.accumulative_counts' in log
    for path in (*tmp_path.glob('phase*.pth'), *tmp_path.glob('iter_[45679].pth')):
        path.unlink()
    with pytest.warns(UserWarning, match='lacks the gradients'):
        assert read_latest(tmp_path)[0] == tmp_path / 'iter_2.pth'
    with pytest.raises(CheckpointError, match='inside a window'):
        train(make_config(picture_tree, host, tmp_path, resume=str(tmp_path / 'iter_3.pth')))


@pytest.mark.parametrize('value', [0, -1, 1.5, '4', None, True])
def test_bad_counts(value, picture_tree, host, tmp_path):
    config = make_config(picture_tree, host, tmp_path, counts=value)
    with pytest.raises(ConfigError) as caught:
        train(config)
    assert caught.value.key == 'optim_wrapper.accumulative_counts'
