"""A whole swap: what it writes, what it logs, what it changes."""

import json

import pytest
import torch
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from safetensors.torch import load_file

from knowswap_mm.lora.tensors import is_adapter_key, plain_key
from tests.helpers.swap_configs import (
    OLD,
    assert_same_weights,
    forget,
    learn,
    swap_config,
    train,
    weights_of,
)

STATES = ['start', 'phase1_learn', 'phase2_forget']


@pytest.fixture(scope='module')
def run(picture_tree, host, tmp_path_factory):
    """Learn, then forget: runner, recorder, config."""
    phases = [learn(iters=24), forget(iters=12, merge_learned=True)]
    config = swap_config(
        picture_tree, tmp_path_factory.mktemp('run'), phases, host=host, dropout=0.1
    )
    config.train_dataloader.dataset.roles.retain.fraction = 0.5
    runner, recorder = train(config)
    return runner, recorder, config


@pytest.fixture(scope='module')
def folder(run):
    from pathlib import Path

    return Path(run[0].work_dir)


def changed_tensors(before, after):
    """Names of host tensors that differ; class-indexed ones are compared row by row."""
    changed, rows = set(), set()
    for key, tensor in after.items():
        name = plain_key(key.removeprefix('host.'))
        if is_adapter_key(key) or name not in before:
            continue
        old = before[name]
        if not torch.equal(tensor[: len(old)] if tensor.shape != old.shape else tensor, old):
            changed.add(name)
        if tensor.shape != old.shape:
            rows.add(name)
    return changed, rows


def test_old_outputs_are_compared_with_the_plain_host(folder):
    """Once, before training; in a head with a row a class, others change nothing."""
    (log,) = folder.glob('*/*.log')
    lines = [line for line in log.read_text().splitlines() if 'Outputs of ' in line]
    assert len(lines) == 1 and f'for the {len(OLD)} old classes' in lines[0]
    assert 'INFO' in lines[0] and 'That is rounding.' in lines[0]


def test_files_of_a_run(folder):
    names = {path.name for path in folder.iterdir()}
    assert {
        'phase1_learn.pth',
        'phase2_forget.pth',
        'swap_results.json',
        'schedule.json',
        'role_indices.json',
        'adapter',
    } <= names
    assert {path.name for path in (folder / 'adapter').iterdir()} >= {
        'adapter_model.safetensors',
        'adapter_config.json',
        'class_rows.safetensors',
        'manifest.json',
    }
    assert not list(folder.glob('*.tmp'))


def test_schedule_file(folder, run):
    schedule = json.loads((folder / 'schedule.json').read_text())
    assert [p['kind'] for p in schedule['phases']] == ['learn', 'forget']
    assert [(p['begin'], p['length']) for p in schedule['phases']] == [(0, 24), (24, 12)]
    assert schedule['role_sizes'] == dict(learn=24, forget=12, retain=24)
    assert schedule['classes']['retain'] == ['a', 'c', 'd', 'e']
    assert schedule['classes']['old'] == list(OLD)


def test_drawn_indices_are_stored(folder, run):
    indices = json.loads((folder / 'role_indices.json').read_text())
    view = run[0].train_dataloader.dataset.views['retain']
    assert indices == dict(retain=view.indices.tolist())
    assert len(indices['retain']) == 24


def test_results_hold_the_start_and_each_phase(folder):
    results = json.loads((folder / 'swap_results.json').read_text())
    assert list(results['states']) == STATES
    assert [results['states'][s]['iteration'] for s in STATES] == [0, 24, 36]
    start, first, last = (results['states'][s]['metrics'] for s in STATES)
    assert start['learn/accuracy/top1'] == 0
    assert start['forget/accuracy/top1'] > 80 and start['retain/accuracy/top1'] > 80
    assert last['learn/accuracy/top1'] > 80
    assert last['forget/accuracy/top1'] < 20
    assert last['swap/forget_before'] == start['forget/accuracy/top1']
    drop = start['forget/accuracy/top1'] - last['forget/accuracy/top1']
    retain = last['retain/accuracy/top1']
    assert last['swap/h_mean'] == pytest.approx(2 * drop * retain / (drop + retain))
    assert last['swap/forget_retain_h_mean'] == last['swap/h_mean']


def test_table_is_logged(folder):
    log = next(folder.glob('*/*.log')).read_text()
    table = log[log.index('accuracy/top1 by role') :].splitlines()
    assert table[1].split() == '| state | iteration | learn | forget | retain | H-mean |'.split()
    assert [line.split()[1] for line in table[3:6]] == STATES
    assert log.count('accuracy/top1 by role') == 1
    assert log.count('Phase 1 of 2: learn, iterations 0 to 23') == 1
    assert log.count('Phase 2 of 2: forget, iterations 24 to 35') == 1


def test_only_lora_changes(folder, host):
    before = weights_of(host)
    first, last = (weights_of(folder / f'{name}.pth') for name in STATES[1:])
    for weights in (first, last):
        changed, rows = changed_tensors(before, weights)
        assert changed == set()
        assert rows == {'head.layers.head.weight', 'head.layers.head.bias'}
    for name in first:
        same = torch.equal(first[name], last[name])
        assert same == (not is_adapter_key(name)), name
    lora_b = [tensor for name, tensor in first.items() if '.lora_B.' in name]
    assert len(lora_b) == 4 and all(tensor.abs().max() > 0 for tensor in lora_b)


def test_adapter_folder_holds_the_last_state(folder):
    last = weights_of(folder / 'phase2_forget.pth')
    saved = load_file(folder / 'adapter' / 'adapter_model.safetensors')
    wanted = {
        name.removeprefix('host.').replace('.default.weight', '.weight'): tensor
        for name, tensor in last.items()
        if is_adapter_key(name)
    }
    assert_same_weights(wanted, saved)
    manifest = json.loads((folder / 'adapter' / 'manifest.json').read_text())
    assert manifest['class_roles']['forget'] == ['b'] and manifest['old_classes'] == 5


@pytest.mark.parametrize('state', STATES)
def test_results_equal_a_new_evaluation(state, folder, run, host, tmp_path):
    config = run[2].copy()
    config.work_dir, config.experiment_name = str(tmp_path), f'again_{state}'
    config.load_from = str(host if state == 'start' else folder / f'{state}.pth')
    metrics = RUNNERS.build(config).test()
    stored = json.loads((folder / 'swap_results.json').read_text())['states'][state]['metrics']
    assert metrics == {k: v for k, v in stored.items() if k in metrics}
    assert {'learn/accuracy/top1', 'forget/accuracy/top1', 'retain/accuracy/top1'} <= set(metrics)


def test_every_iteration_trains_on_its_phase(run):
    recorder = run[1]
    assert recorder.column('iteration') == list(range(36))
    assert recorder.column('phases') == [{0}] * 24 + [{1}] * 12
    # The evaluation between two phases must not leave the model in evaluation mode.
    assert all(recorder.column('training'))
    for step in recorder.steps:
        roles = [role for role, _, _ in step['samples']]
        primary = 'learn' if step['iteration'] < 24 else 'forget'
        assert roles == [primary] * 4 + ['retain'] * 4
    merged = {
        label for step in recorder.steps[24:] for r, label, _ in step['samples'] if r != 'forget'
    }
    assert merged & {5, 6} and merged & {0, 2, 3, 4} and 1 not in merged


def test_logged_learning_rate_is_the_used_one(picture_tree, host, tmp_path):
    warm_up = dict(type='LinearLR', start_factor=0.1, end=4)
    phases = [learn(iters=5, lr_factor=0.5), forget(iters=5)]
    config = swap_config(
        picture_tree, tmp_path, phases, host=host, param_scheduler=warm_up, val_cfg=None,
        val_dataloader=None, val_evaluator=None,
    )  # fmt: skip
    runner, recorder = train(config)
    logged, _ = runner.message_hub.get_scalar('train/lr').data
    assert list(logged) == pytest.approx(recorder.column('lr'))


@pytest.mark.parametrize('policy', ['new_rows', 'all'])
def test_head_policies_change_their_rows_only(policy, picture_tree, host, tmp_path):
    config = swap_config(picture_tree, tmp_path, host=host, policy=policy)
    train(config)
    before, after = weights_of(host), weights_of(tmp_path / 'phase2_forget.pth')
    changed, _ = changed_tensors(before, after)
    head = {'head.layers.head.weight', 'head.layers.head.bias'}
    assert changed == (head if policy == 'all' else set())
    first = weights_of(tmp_path / 'phase1_learn.pth')
    for name in head:
        assert not torch.equal(first[f'host.{name}'][5:], after[f'host.{name}'][5:])


def test_validation_inside_phases_changes_nothing(picture_tree, host, tmp_path):
    """Metrics of the ends appear once, and the weights do not depend on when one evaluates."""
    weights = []
    for name in ('each_iteration', 'by_default', 'never'):
        config = swap_config(picture_tree, tmp_path / name, host=host, dropout=0.1)
        if name == 'each_iteration':
            config.train_cfg.val_interval = 1
        elif name == 'never':
            config.val_cfg = config.val_dataloader = config.val_evaluator = None
        train(config)
        weights.append(weights_of(tmp_path / name / 'phase2_forget.pth'))
        path = tmp_path / name / 'swap_results.json'
        if name != 'never':
            assert list(json.loads(path.read_text())['states']) == STATES
        else:
            assert not path.exists()
    assert_same_weights(weights[0], weights[1])
    assert_same_weights(weights[0], weights[2])


def test_workers_and_prefetch_change_nothing(picture_tree, host, tmp_path):
    weights = []
    for workers in (0, 1):
        config = swap_config(picture_tree, tmp_path / str(workers), host=host, dropout=0.1)
        config.train_dataloader.num_workers = workers
        config.train_dataloader.persistent_workers = bool(workers)
        _, recorder = train(config)
        weights.append(weights_of(tmp_path / str(workers) / 'phase2_forget.pth'))
        assert recorder.column('phases') == [{0}] * 3 + [{1}] * 3
    assert_same_weights(*weights)


@pytest.mark.parametrize('asked', [None, True, False])
@pytest.mark.parametrize('device', ['cpu', 'cuda'])
def test_memory_is_pinned_for_an_accelerator_unless_the_config_says_else(
    asked, device, picture_tree, host, tmp_path, monkeypatch
):
    config = swap_config(picture_tree, tmp_path, host=host)
    if asked is not None:
        config.train_dataloader.pin_memory = asked
    monkeypatch.setattr('knowswap_mm.engine.runner.get_device', lambda: device)
    runner = RUNNERS.build(config)
    monkeypatch.setattr(Runner, 'train', lambda self: None)
    runner.train()
    loader = runner.build_dataloader(runner._train_dataloader)
    assert loader.pin_memory == (device == 'cuda' if asked is None else asked)


def test_best_checkpoint_can_be_kept(picture_tree, host, tmp_path):
    config = swap_config(picture_tree, tmp_path, host=host)
    config.default_hooks.checkpoint.update(save_best='swap/score', rule='greater')
    train(config)
    assert list(tmp_path.glob('best_swap_score_*.pth'))
