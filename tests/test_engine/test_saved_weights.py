"""Hooks that put other weights in: measured, saved, written as adapter are one set."""

import json
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import StochasticWeightAverage
from mmengine.registry import HOOKS, RUNNERS

from knowswap_mm.engine.saved_weights import follow_from_the_start
from knowswap_mm.errors import CheckpointError, PhaseError
from knowswap_mm.lora import AdapterFile
from knowswap_mm.lora.adapter import AdapterContents
from tests.helpers.processes import train_together
from tests.helpers.swap_configs import (
    assert_same_weights,
    forget,
    learn,
    swap_config,
    train,
    weights_of,
)

PHASES = [learn(iters=3), forget(iters=3, merge_learned=True)]
AVERAGES = dict(
    mmengine=dict(type='mmengine.EMAHook', momentum=0.3),
    late=dict(type='mmengine.EMAHook', momentum=0.3, begin_iter=5),
    annealing=dict(type='mmengine.EMAHook', ema_type='MomentumAnnealingEMA', momentum=0.2),
    swa=dict(type='mmengine.EMAHook', ema_type='StochasticWeightAverage', update_buffers=True),
    mmpretrain=dict(type='EMAHook', momentum=0.3),
    mmpretrain_origin=dict(
        type='EMAHook', momentum=0.3, evaluate_on_ema=False, evaluate_on_origin=True
    ),
    mmdet=dict(type='mmengine.EMAHook', ema_type='mmdet.ExpMomentumEMA', momentum=0.2, gamma=5),
)


@HOOKS.register_module()
class HalvingHook(Hook):
    """Saves all adapters at half their size, and evaluates as it was trained."""

    def before_save_checkpoint(self, runner, checkpoint):
        for key, value in checkpoint['state_dict'].items():
            if 'lora_B' in key:
                checkpoint['state_dict'][key] = value / 2


@HOOKS.register_module()
class StubbornHook(Hook):
    """Evaluates other weights than are saved."""

    def _scale(self, runner, factor):
        for parameter in runner.swapper.adapters.values():
            parameter.data.mul_(factor)

    def before_val_epoch(self, runner):
        self._scale(runner, 2.0)

    def after_val_epoch(self, runner, metrics=None):
        self._scale(runner, 0.5)


def make_config(picture_tree, host, folder, hooks, **changes):
    return swap_config(
        picture_tree,
        folder,
        PHASES,
        host=host,
        dropout=0.1,
        policy='new_rows',
        custom_hooks=hooks,
        default_hooks__checkpoint__interval=1,
        **changes,
    )


def figures_of(config, checkpoint, folder):
    """The figures of a test of a checkpoint."""
    config.load_from, config.work_dir = str(checkpoint), str(folder)
    config.experiment_name += '_test'
    return RUNNERS.build(config).test()


@pytest.mark.parametrize('name', [*AVERAGES, 'halving'])
def test_one_set_of_weights(name, picture_tree, host, tmp_path):
    import mmdet.models  # noqa: F401

    hooks = [dict(type='HalvingHook') if name == 'halving' else dict(AVERAGES[name])]
    config = make_config(picture_tree, host, tmp_path / 'run', hooks)
    runner, _ = train(config)
    results = json.loads((tmp_path / 'run/swap_results.json').read_text())['states']
    plain = make_config(picture_tree, host, tmp_path / 'plain', [])
    raw, _ = train(plain.copy())
    trained = weights_of(tmp_path / 'plain/phase2_forget.pth')
    for phase in ('phase1_learn', 'phase2_forget'):
        saved = weights_of(tmp_path / f'run/{phase}.pth')
        AdapterFile(tmp_path / f'run/adapters/{phase}').load(raw.swapper)
        assert_same_weights(raw.swapper.state_dict(), saved)
        for tool in (plain, config):  # without the hooks of training, and with them
            metrics = figures_of(tool.copy(), tmp_path / f'run/{phase}.pth', tmp_path / phase)
            assert metrics.items() <= results[phase]['metrics'].items()
    if name == 'late':  # not averaged yet: the trained ones, new rows and all
        begun = [weights_of(tmp_path / f'{run}/phase1_learn.pth') for run in ('run', 'plain')]
        assert_same_weights(*begun)
    key = 'host.backbone.layers.1.ffn.layers.1.lora_B.default.weight'
    assert not torch.equal(saved[key], trained[key])  # the hook did something
    assert_same_weights(runner.swapper.state_dict(), saved)  # what an audit sees
    AdapterFile(tmp_path / 'run/adapter').load(raw.swapper)
    assert_same_weights(raw.swapper.state_dict(), saved)
    history = AdapterFile(tmp_path / 'run/adapter').load(raw.swapper).history
    from knowswap_mm.runs.history import group_summary

    assert history[-1]['groups'] == group_summary(runner.swapper)
    if name != 'late':
        start = figures_of(plain.copy(), host, tmp_path / 'start')
        assert start.items() <= results['start']['metrics'].items()


@pytest.mark.parametrize('name', ['mmengine', 'late', 'mmpretrain', 'swa'])
@pytest.mark.parametrize('point', ['iter_2.pth', 'phase1_learn.pth', 'iter_4.pth'])
def test_resume_is_exact(name, point, picture_tree, host, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / f'whole_{name}'
    hooks = [dict(AVERAGES[name])]
    if not folder.exists():
        train(make_config(picture_tree, host, folder, hooks))
    again = tmp_path_factory.mktemp('again')
    config = make_config(picture_tree, None, again, hooks, resume=str(folder / point))
    train(config)
    for left in (folder / 'phase2_forget.pth', folder / 'iter_6.pth'):
        found, wanted = (torch.load(p, weights_only=False) for p in (again / left.name, left))
        assert_same_weights(found['state_dict'], wanted['state_dict'])
        assert_same_weights(found['ema_state_dict'], wanted['ema_state_dict'])
    found, wanted = (
        json.loads((f / 'swap_results.json').read_text())['states'] for f in (again, folder)
    )
    assert found == wanted


def test_averages_are_not_gone_on_from_without_their_hook(picture_tree, host, tmp_path):
    train(make_config(picture_tree, host, tmp_path / 'a', [dict(AVERAGES['mmengine'])]))
    config = make_config(
        picture_tree, None, tmp_path / 'b', [], resume=str(tmp_path / 'a/iter_4.pth')
    )
    with pytest.raises(CheckpointError, match='averaged weights.*Fix: resume with the hook'):
        train(config)


def test_without_phase_checkpoints_the_adapter_is_still_what_was_measured(
    picture_tree, host, tmp_path
):
    hooks = [
        dict(AVERAGES['mmengine']),
        dict(type='knowswap_mm.PhaseHook', save_phases=False),
    ]
    runner, _ = train(make_config(picture_tree, host, tmp_path / 'a', hooks))
    assert not list((tmp_path / 'a').glob('phase*.pth'))
    saved = weights_of(tmp_path / 'a/iter_6.pth')
    assert_same_weights(runner.swapper.state_dict(), saved)
    AdapterFile(tmp_path / 'a/adapter').load(runner.swapper)
    assert_same_weights(runner.swapper.state_dict(), saved)


def test_evaluating_others_than_are_saved_is_noticed(picture_tree, host, tmp_path):
    config = make_config(picture_tree, host, tmp_path, [dict(type='StubbornHook')])
    with pytest.raises(PhaseError, match='results would not be those.*Fix: take the hook out'):
        train(config)
    assert (tmp_path / 'phase1_learn.pth').is_file()
    assert 'evaluates other weights' in next(tmp_path.glob('*/*.log')).read_text()


def test_nothing_is_said_of_hooks_that_change_nothing(picture_tree, host, tmp_path):
    train(make_config(picture_tree, host, tmp_path, []))
    assert 'evaluates other weights' not in next(tmp_path.glob('*/*.log')).read_text()
    assert not torch.load(tmp_path / 'phase1_learn.pth', weights_only=False)['swap']['replaced']


def test_averages_follow_until_they_begin():
    model, other = torch.nn.Linear(2, 2), torch.nn.Linear(3, 1)
    hooks = [SimpleNamespace(a=StochasticWeightAverage(each), b=5) for each in (model, other)]
    before = other.weight.clone()
    with torch.no_grad():
        model.weight.add_(1), other.weight.add_(1)
    follow_from_the_start(hooks, model)
    assert torch.equal(hooks[0].a.module.weight, model.weight)
    assert torch.equal(hooks[1].a.module.weight, before)  # of something else
    hooks[0].a.update_parameters(model)
    begun = model.weight.clone()
    with torch.no_grad():
        model.weight.add_(1)
    follow_from_the_start(hooks, model)
    assert torch.equal(hooks[0].a.module.weight, begun)


@pytest.mark.distributed
@pytest.mark.parametrize('name', ['mmengine', 'mmpretrain_origin'])
def test_two_processes_save_and_measure_what_one_does(name, picture_tree, host, tmp_path):
    """With windows of accumulation, which two processes must close together, too."""
    for folder, world in (('one', 1), ('two', 2)):
        config = swap_config(
            picture_tree,
            tmp_path / folder,
            [learn(iters=5), forget(iters=3, merge_learned=True)],
            host=host,
            batch_size=8 // world,
            custom_hooks=[dict(AVERAGES[name])],
            optim_wrapper__accumulative_counts=2,
        )
        train_together(config, world)
    for phase in ('phase1_learn', 'phase2_forget'):
        one, two = (weights_of(tmp_path / f'{folder}/{phase}.pth') for folder in ('one', 'two'))
        assert_same_weights(one, two, 1e-5)
        contents = AdapterContents(tmp_path / f'two/adapters/{phase}')
        key = 'backbone.layers.1.ffn.layers.1.lora_B'
        assert torch.equal(contents.matrices[f'{key}.weight'], two[f'host.{key}.default.weight'])
    results = [
        json.loads((tmp_path / f'{folder}/swap_results.json').read_text())['states']
        for folder in ('one', 'two')
    ]
    assert results[0] == results[1]
