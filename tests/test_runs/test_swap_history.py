"""Each adapter remembers what its phases did, and each phase leaves an adapter."""

from pathlib import Path

import pytest

from knowswap_mm.lora import AdapterFile, AdapterManifest
from knowswap_mm.runs.history import group_summary
from tests.helpers.swap_configs import (
    assert_same_weights,
    forget,
    learn,
    swap_config,
    train,
    weights_of,
)

PHASES = [learn(iters=4), forget(iters=3, merge_learned=True)]


@pytest.fixture(scope='module')
def run(picture_tree, host, tmp_path_factory):
    """A finished swap and its folder."""
    folder = tmp_path_factory.mktemp('history')
    runner, _ = train(swap_config(picture_tree, folder, PHASES, host=host, policy='all'))
    return runner, folder


def history_of(folder):
    return AdapterManifest.read(Path(folder) / 'manifest.json').history


def test_an_entry_says_what_the_phase_did(run):
    runner, folder = run
    first, second = history_of(folder / 'adapter')
    assert (first['name'], first['kind'], first['iterations']) == ('phase1_learn', 'learn', 4)
    assert first['weights'] == dict(learn=1.0, retain=0.2, forget=0.0, sparsity=0.005)
    assert first['bound'] is None and second['bound'] == 105
    assert first['seed'] == 3
    assert second['classes'] == dict(learn=['x', 'y'], forget=['b'], retain=list('acde'))
    # The norms are those of the adapter in the folder.
    assert second['groups'] == group_summary(runner.swapper)
    assert second['groups']['number'] == 2
    assert second['groups']['smallest'] <= second['groups']['mean'] <= second['groups']['largest']
    results = runner_results(runner)
    for entry in (first, second):
        metrics = results[entry['name']]['metrics']
        assert entry['metric'] == 'accuracy/top1'
        wanted = {role: metrics[f'{role}/accuracy/top1'] for role in ('learn', 'forget', 'retain')}
        assert entry['metrics'] == wanted


def hook_of(runner):
    return next(hook for hook in runner.hooks if type(hook).__name__ == 'PhaseHook')


def runner_results(runner):
    return hook_of(runner).results.states


def test_each_phase_leaves_its_adapter(run):
    runner, folder = run
    assert [len(history_of(path)) for path in sorted((folder / 'adapters').iterdir())] == [1, 2]
    for name in ('phase1_learn', 'phase2_forget'):
        AdapterFile(folder / 'adapters' / name).load(runner.swapper)
        assert_same_weights(runner.swapper.state_dict(), weights_of(folder / f'{name}.pth'))


def test_a_resumed_run_has_the_whole_history(run, picture_tree, host, tmp_path):
    _, folder = run
    config = swap_config(picture_tree, tmp_path, PHASES, host=host, policy='all')
    config.resume, config.load_from = True, str(folder / 'phase1_learn.pth')
    train(config)
    assert history_of(tmp_path / 'adapter') == history_of(folder / 'adapter')


def test_adapters_of_phases_can_be_left_out_and_need_no_metrics(picture_tree, host, tmp_path):
    config = swap_config(picture_tree, tmp_path, PHASES, host=host)
    config.custom_hooks = [
        dict(type='knowswap_mm.PhaseHook', save_phase_adapters=False, save_phases=False)
    ]
    config.val_cfg = config.val_dataloader = config.val_evaluator = None
    train(config)
    assert not (tmp_path / 'adapters').exists()
    assert [entry['metrics'] for entry in history_of(tmp_path / 'adapter')] == [{}, {}]
