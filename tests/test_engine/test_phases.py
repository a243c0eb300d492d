"""Orders of phases, and what each kind of phase trains."""

import json

import pytest
import torch
from mmengine.registry import RUNNERS

from knowswap_mm.errors import ConfigError
from knowswap_mm.lora.tensors import is_adapter_key
from tests.helpers.swap_configs import forget, learn, swap_config, train, weights_of

HEAD = ['host.head.layers.head.weight', 'host.head.layers.head.bias']


def without_validation(config):
    config.val_cfg = config.val_dataloader = config.val_evaluator = None
    return config


def test_expand_changes_new_rows_only(picture_tree, host, tmp_path):
    phases = [dict(kind='expand', iters=3), learn(iters=3)]
    config = swap_config(picture_tree, tmp_path, phases, host=host, policy='new_rows')
    config.load_from = str(start := tmp_path / 'start.pth')
    runner = RUNNERS.build(without_validation(config))
    runner.swapper.load_state_dict(weights_of(host))
    torch.save(dict(state_dict=runner.swapper.state_dict()), start)
    runner.train()
    before, expanded, learned = (
        weights_of(tmp_path / f'{n}.pth') for n in ('start', 'phase1_expand', 'phase2_learn')
    )
    for name, tensor in before.items():
        if name in HEAD:
            assert torch.equal(tensor[:5], expanded[name][:5])
            assert (tensor[5:] != expanded[name][5:]).any()
            assert torch.equal(tensor[:5], learned[name][:5])
        else:
            assert torch.equal(tensor, expanded[name]), name
            assert torch.equal(tensor, learned[name]) != is_adapter_key(name), name


def test_expand_in_the_middle(picture_tree, host, tmp_path):
    phases = [learn(iters=2), dict(kind='expand', iters=2), forget(iters=2)]
    config = swap_config(picture_tree, tmp_path, phases, host=host, policy='new_rows')
    _, recorder = train(without_validation(config))
    adapters = [sum('lora' in name for name in step['trainable']) for step in recorder.steps]
    assert adapters == [8, 8, 0, 0, 8, 8]
    learned, expanded = (
        weights_of(tmp_path / f'{n}.pth') for n in ('phase1_learn', 'phase2_expand')
    )
    different = [name for name in learned if not torch.equal(learned[name], expanded[name])]
    # Neither the kept moments of AdamW nor its decay may move a frozen adapter.
    assert sorted(different) == sorted(HEAD)


def test_expand_needs_new_rows(picture_tree, host, tmp_path):
    config = swap_config(picture_tree, tmp_path, [dict(kind='expand', iters=2)], host=host)
    with pytest.raises(
        ConfigError, match='model.head.policy.*Fix: set model.head.policy'
    ) as caught:
        train(config)
    assert caught.value.value == 'frozen'


def test_joint_phase_has_three_roles(picture_tree, host, tmp_path):
    weights = dict(learn=1.0, retain=1.0, forget=0.2, sparsity=0.005)
    split = dict(learn=2, forget=2, retain=4)
    phases = [dict(kind='joint', iters=24, weights=weights, bound=20.0, split=split)]
    config = swap_config(picture_tree, tmp_path, phases, host=host)
    runner, recorder = train(config)
    for step in recorder.steps:
        roles = [role for role, _, _ in step['samples']]
        assert roles == ['learn'] * 2 + ['forget'] * 2 + ['retain'] * 4
    logged = {key for key in runner.message_hub.log_scalars if key.startswith('train/')}
    terms = {f'train/loss_{term}' for term in ('learn', 'forget', 'retain', 'sparsity')}
    raw = {f'train/{role}/raw' for role in ('learn', 'forget', 'retain')}
    assert terms | raw | {'train/forget/bound_hit', 'train/sparsity'} <= logged
    states = json.loads((tmp_path / 'swap_results.json').read_text())['states']
    assert list(states) == ['start', 'phase1_joint']
    last = states['phase1_joint']['metrics']
    assert last['learn/accuracy/top1'] > 50 > last['forget/accuracy/top1']


@pytest.mark.parametrize('order', ['learn-forget-learn', 'forget-learn-forget'])
def test_named_orders_run(order, picture_tree, host, tmp_path):
    config = swap_config(picture_tree, tmp_path, host=host)
    settings = {phase['kind']: dict(phase) for phase in (learn(iters=2), forget(iters=2))}
    for setting in settings.values():
        setting.pop('kind')
    config.swap = dict(classes=config.swap.classes, order=order, phase_settings=settings)
    runner, recorder = train(config)
    kinds = order.split('-')
    assert recorder.column('phases') == [{i} for i in (0, 0, 1, 1, 2, 2)]
    states = json.loads((tmp_path / 'swap_results.json').read_text())['states']
    names = [f'phase{i + 1}_{kind}' for i, kind in enumerate(kinds)]
    assert list(states) == ['start', *names]
    assert all((tmp_path / f'{name}.pth').is_file() for name in names)
    merged = [phase.merge_learned for phase in runner.swap_schedule.phases]
    assert merged == ([False, True, False] if kinds[0] == 'learn' else [False, False, True])


def test_command_line_length_reaches_everything(picture_tree, host, tmp_path):
    """One override moves sampler, loop, schedulers, hook and model alike."""
    phases = [learn(iters=9), forget(iters=3)]
    cosine = dict(type='CosineAnnealingLR', eta_min=0.0)
    config = swap_config(picture_tree, tmp_path, phases, host=host, param_scheduler=cosine)
    config.merge_from_dict({'swap.phases.0.iters': 2, 'swap.phases.1.bound': 7.5})
    runner, recorder = train(without_validation(config))
    assert runner.train_loop.max_iters == 5
    assert recorder.column('phases') == [{0}] * 2 + [{1}] * 3
    expected = [1e-2, 5e-3, 1e-2, 7.5e-3, 2.5e-3]
    assert recorder.column('lr') == pytest.approx(expected)
    schedule = runner.swap_schedule
    assert runner.train_dataloader.sampler.schedule == schedule
    assert runner.swapper.schedule is schedule
    assert [phase.length for phase in schedule.phases] == [2, 3]
    assert schedule.phases[1].bound == 7.5
    stored = [
        torch.load(tmp_path / f'{name}.pth', weights_only=False)['meta']['iter']
        for name in ('phase1_learn', 'phase2_forget')
    ]
    assert stored == [2, 5]
    assert len(runner.train_dataloader.sampler) == 5 * 8
