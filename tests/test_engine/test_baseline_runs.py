"""A tiny swap with every baseline, and what FisherHook measures."""

import json
import math

import pytest
import torch

from knowswap_mm.engine import FisherHook
from knowswap_mm.errors import ConfigError, PhaseError
from tests.helpers.swap_configs import (
    assert_same_weights,
    forget,
    learn,
    swap_config,
    train,
    weights_of,
)

UNBOUNDED = [learn(iters=3), forget(iters=3, bound='none', merge_learned=True)]
RANDOM = 'knowswap_mm.RandomLabelRoleView'
JOINT = dict(kind='joint', iters=3, bound=105.0, split=dict(learn=2, forget=2, retain=4))
FULL = dict(type='knowswap_mm.FullTrainingSwapper', lora=None)
REPAIRED = [
    learn(iters=2, weights=dict(learn=1.0, retain=0.2)),
    forget(iters=2, weights=dict(retain=1.0, forget=0.2), merge_learned=True),
    forget(iters=3, weights=dict(retain=1.0, forget=1.0), bound='none', merge_learned=True),
]
BASELINES = {
    'gradient-ascent': dict(loss='GradientAscentLoss'),
    'random-labels': dict(loss='WeightedSumLoss', view=RANDOM),
    'saliency': dict(loss='WeightedSumLoss', view=RANDOM, hook='SaliencyMaskHook'),
    'distillation': dict(
        loss='DistillationForgettingLoss',
        phases=[*UNBOUNDED, forget(iters=2, bound='none', weights=dict(forget=0.0))],
    ),
    'ewc': dict(loss='ElasticWeightLoss', hook='FisherHook', phases=[learn(iters=3)]),
    'joint': dict(loss='SwappingLoss', phases=[JOINT]),
    'delete': dict(loss='DecoupledDistillationLoss', hook='TeacherHook'),
    'trw': dict(loss='TiltedReweightingLoss', hook='TeacherHook'),
    'undo': dict(loss='UndoLoss', hook='UndoHook', phases=REPAIRED, model=FULL),
}
DISTILLED = {'loss_forget', 'loss_retain', 'forget/distance', 'retain/distance'}
TERMS = {
    'gradient-ascent': {'loss_forget', 'loss_retain', 'loss_sparsity'},
    'random-labels': {'loss_forget', 'loss_retain', 'loss_sparsity'},
    'saliency': {'loss_forget', 'loss_retain', 'loss_sparsity'},
    'distillation': {'loss_forget', 'loss_retain', 'loss_retain_distance', 'forget/distance'},
    'ewc': {'loss_learn', 'loss_retain', 'loss_sparsity', 'loss_elastic', 'elastic'},
    'joint': {'loss_learn', 'loss_forget', 'loss_retain'},
    'delete': DISTILLED | {'loss_retain_distance', 'loss_sparsity'},
    'trw': DISTILLED | {'loss_retain_distance', 'loss_sparsity'},
    'undo': DISTILLED,
}


@pytest.fixture(scope='module')
def make(picture_tree, host):
    def config(name, work_dir, **changes):
        chosen = BASELINES[name]
        phases = chosen.get('phases', UNBOUNDED)
        config = swap_config(picture_tree, work_dir, phases, host=host, policy='all', **changes)
        config.model.update(chosen.get('model', {}))
        config.model.loss = dict(type=f'knowswap_mm.{chosen["loss"]}')
        if 'view' in chosen:
            config.train_dataloader.dataset.roles.forget.view = chosen['view']
        if 'hook' in chosen:
            config.custom_hooks = [dict(type=f'knowswap_mm.{chosen["hook"]}')]
        return config

    return config


@pytest.mark.parametrize('name', BASELINES)
def test_runs_and_resumes(name, make, tmp_path):
    config = make(name, tmp_path / 'whole', dropout=0.1, default_hooks__checkpoint__interval=1)
    runner, recorder = train(config)
    assert all(math.isfinite(value) for value in recorder.column('loss'))
    logged = {key.removeprefix('train/') for key in runner.message_hub.log_scalars}
    assert TERMS[name] <= logged
    folder = tmp_path / 'whole'
    last = runner.swap_schedule.phases[-1].name
    states = json.loads((folder / 'swap_results.json').read_text())['states']
    assert list(states)[-1] == last
    total = runner.swap_schedule.total
    again = make(name, tmp_path / 'again', dropout=0.1)
    again.resume, again.load_from = True, str(folder / f'iter_{total - 1}.pth')
    _, rest = train(again)
    assert rest.column('loss') == recorder.column('loss')[-1:]
    assert_same_weights(
        weights_of(folder / f'{last}.pth'), weights_of(tmp_path / 'again' / f'{last}.pth')
    )


def test_an_exploding_ascent_is_reported(make, tmp_path):
    config = make('gradient-ascent', tmp_path)
    config.swap.nonfinite = dict(interval=1)
    config.swap.phases[1].weights.forget = 1e30
    config.optim_wrapper.optimizer = dict(type='SGD', lr=1e10)
    with pytest.raises(PhaseError, match='not finite'):
        train(config)


def test_random_labels_are_trained_on(make, tmp_path):
    _, recorder = train(make('random-labels', tmp_path))
    labels = {
        label for step in recorder.steps for role, label, _ in step['samples'] if role == 'forget'
    }
    assert 1 not in labels and len(labels) > 1


def test_fisher_is_a_function_of_the_seed(make, tmp_path):
    def fisher(seed, folder):
        config = make('ewc', tmp_path / folder, randomness__seed=seed)
        config.custom_hooks = [dict(type='knowswap_mm.FisherHook', samples=5)]
        config.val_cfg = config.val_dataloader = config.val_evaluator = None
        runner, recorder = train(config)
        return runner.swapper.swapping_loss._fisher, recorder

    (first, one), (second, two), (other, _) = fisher(3, 'a'), fisher(3, 'b'), fisher(4, 'c')
    assert (
        len(first) == 4 + 2
    )  # two linear layers in each of two blocks; weight and bias of the head
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert any(not torch.equal(value, other[name]) for name, value in first.items())
    assert all((value >= 0).all() and value.any() for value in first.values())
    assert one.column('loss') == two.column('loss')


def test_measuring_leaves_the_training_stream_alone(make, tmp_path):
    config = make('ewc', tmp_path / 'with')
    config.model.loss.strength = 0.0
    _, measured = train(config)
    config = make('ewc', tmp_path / 'without')
    config.model.loss, config.custom_hooks = dict(type='knowswap_mm.SwappingLoss'), []
    _, plain = train(config)
    assert measured.column('samples') == plain.column('samples')
    assert measured.column('loss') == plain.column('loss')


def test_fisher_hook_needs_its_objective(make, tmp_path):
    config = make('ewc', tmp_path)
    config.model.loss = dict(type='knowswap_mm.SwappingLoss')
    with pytest.raises(ConfigError, match=r'model\.loss\.type.*ElasticWeightLoss'):
        train(config)


@pytest.mark.parametrize('value', [0, True, 1.5])
def test_bad_number_of_samples(value, raises_config_error):
    with raises_config_error('custom_hooks.FisherHook.samples', value, 'integer'):
        FisherHook(value)
