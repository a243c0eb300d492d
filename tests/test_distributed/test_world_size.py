"""1, 2 and 4 processes with the same total batch train the same way, also after a change."""

import json

import pytest
import torch

from knowswap_mm.errors import CheckpointError, ConfigError
from knowswap_mm.schedule import ScheduleChange, SwapSchedule
from tests.helpers.processes import train_together
from tests.helpers.swap_configs import (
    assert_same_weights,
    forget,
    learn,
    swap_config,
    train,
    weights_of,
)

PHASES = [
    learn(epochs=1),
    forget(iters=5, merge_learned=True, merged_share=0.5, restart_optimizer=True),
]
TOTAL = 16
END = 'phase2_forget.pth'


@pytest.fixture(scope='module')
def make_config(picture_tree, host):
    def make(folder, world, **changes):
        return swap_config(
            picture_tree,
            folder,
            PHASES,
            host=host,
            batch_size=TOTAL // world,
            policy='new_rows',
            param_scheduler=dict(type='CosineAnnealingLR', eta_min=1e-5),
            default_hooks__checkpoint__interval=2,
            custom_hooks=[dict(type='SwapRecorder', folder=str(folder / 'record'))],
            **changes,
        )

    return make


def curve(folder, world):
    """What the processes of a run recorded: for each step the samples and the mean loss."""
    ranks = [
        torch.load(folder / f'record/rank{r}.pt', weights_only=False)['steps'] for r in range(world)
    ]
    steps = {}
    for parts in zip(*ranks, strict=True):
        samples = sorted(sample for part in parts for sample in part['samples'])
        loss = sum(part['loss'] for part in parts) / world
        steps[parts[0]['iteration']] = (samples, loss, parts[0]['lr'])
    return steps


@pytest.fixture(scope='module')
def runs(make_config, tmp_path_factory):
    """Undisturbed runs by number of processes."""
    folders = {}
    for world in (1, 2, 4):
        folders[world] = tmp_path_factory.mktemp(f'world{world}')
        train_together(make_config(folders[world], world), world)
    return folders


def check_same(folder, world, runs, begin=0):
    found, wanted = curve(folder, world), curve(runs[1], 1)
    assert list(found) == list(wanted)[begin:]
    for iteration, (samples, loss, rate) in found.items():
        assert samples == wanted[iteration][0]
        assert loss == pytest.approx(wanted[iteration][1], abs=1e-4)
        assert rate == pytest.approx(wanted[iteration][2], abs=1e-12)
    assert_same_weights(weights_of(folder / END), weights_of(runs[1] / END), tolerance=1e-5)
    results = [
        json.loads((f / 'swap_results.json').read_text())['states'] for f in (folder, runs[1])
    ]
    assert results[0] == results[1]


@pytest.mark.distributed
@pytest.mark.parametrize('world', [2, 4])
def test_several_processes_train_as_one(world, runs):
    check_same(runs[world], world, runs)


@pytest.mark.distributed
@pytest.mark.parametrize(('before', 'after'), [(2, 1), (1, 2), (4, 2), (2, 2)])
def test_a_run_goes_on_with_another_number_of_processes(before, after, runs, make_config, tmp_path):
    config = make_config(tmp_path, after, resume=str(runs[before] / 'iter_4.pth'))
    train_together(config, after)
    check_same(tmp_path, after, runs, begin=4)
    log = next(tmp_path.glob('*/*.log')).read_text()
    words = f'goes on with {after} processes instead of {before}'
    assert (words in log) == (before != after)
    if before == after:  # then it is exact
        assert_same_weights(weights_of(tmp_path / END), weights_of(runs[before] / END))


def test_another_total_batch_is_refused(runs, make_config, tmp_path):
    config = make_config(tmp_path, 2, resume=str(runs[2] / 'iter_4.pth'))
    with pytest.raises(ConfigError) as caught:
        train(config)
    message = str(caught.value)
    assert message.startswith('train_dataloader.batch_size = 8: 1 processes with it make a total')
    assert 'batch of 8, but' in message and 'with 16 (2 processes with 8 each)' in message
    assert 'Fix: set it to 16' in message
    assert not list(tmp_path.glob('*.pth'))


def schedule(batch_size, world, **settings):
    phase = learn(iters=4) | settings
    sizes = dict(learn=24, retain=48)
    return SwapSchedule.from_config(dict(phases=[phase]), sizes, batch_size, world)


def test_the_rule():
    stored = schedule(8, 2).to_dict()
    assert not ScheduleChange('a.pth', stored, schedule(8, 2)).check()
    assert ScheduleChange('a.pth', stored, schedule(16, 1)).check()
    assert ScheduleChange('a.pth', stored, schedule(4, 4)).check()
    with pytest.raises(ConfigError, match='go on with 2 processes and .*batch_size = 8'):
        ScheduleChange('a.pth', stored, schedule(5, 3)).check()
    # Shares are those of the total batch, whatever the number of processes.
    assert ScheduleChange('a.pth', schedule(5, 2).to_dict(), schedule(10, 1)).check()
    assert ScheduleChange('a.pth', schedule(10, 1).to_dict(), schedule(5, 2)).check()
    merged = dict(merge_learned=True, merged_share=0.3)
    stored = schedule(8, 2, **merged).to_dict()
    assert ScheduleChange('a.pth', stored, schedule(4, 4, **merged)).check()
    split = dict(learn=3, retain=7)
    stored = schedule(10, 1, split=split).to_dict()
    assert ScheduleChange('a.pth', stored, schedule(5, 2, split=split)).check()
    with pytest.raises(CheckpointError, match=r'swap.phases.0.split.learn was 3, now it is 5'):
        ScheduleChange('a.pth', stored, schedule(5, 2)).check()
    for damaged in (None, {}, dict(world_size=1, phases=[]), dict(stored, world_size='two')):
        with pytest.raises(CheckpointError, match='a.pth holds no schedule of a swap'):
            ScheduleChange('a.pth', damaged, schedule(8, 2)).check()


def earlier(batch_size, split, world, **settings):
    """What a checkpoint held when shares were those of one process, and rounded there."""
    stored = schedule(batch_size, world, split=split, **settings).to_dict()
    del stored['total_batch']
    stored['phases'][0]['split'] = dict(dict(learn=0, forget=0, retain=0), **split)
    return stored


def test_runs_of_earlier_versions_go_on():
    """With the shares that they had; the message says how to have them."""
    stored = earlier(5, dict(learn=2, retain=3), 2)
    with pytest.raises(CheckpointError, match=r'split.learn was 4, now it is 5') as caught:
        ScheduleChange('a.pth', stored, schedule(5, 2)).check()
    assert "swap.phases.0.split = {'learn': 4, 'retain': 6}" in str(caught.value)
    split = dict(learn=4, retain=6)
    for batch_size, world in ((5, 2), (10, 1)):
        change = ScheduleChange('a.pth', stored, schedule(batch_size, world, split=split))
        assert change.check() == (world == 1)
    merged = dict(merge_learned=True, merged_share=0.4)
    stored = earlier(6, dict(learn=3, retain=3), 2, **merged)  # 1 of 3 each, now 2 of 6
    assert not ScheduleChange('a.pth', stored, schedule(6, 2, **merged)).check()
    merged = dict(merge_learned=True, merged_share=0.25)
    stored = earlier(4, dict(learn=2, retain=2), 3, **merged)  # 0 of 2 each, now 2 of 6
    with pytest.raises(CheckpointError, match=r'learned_in_retain was 0, now it is 2') as caught:
        ScheduleChange('a.pth', stored, schedule(4, 3, **merged)).check()
    assert 'swap.phases.0.merged_share = 0.0' in str(caught.value)


def test_uneven_shares_are_said():
    assert schedule(8, 2).uneven() is None and schedule(7, 1).uneven() is None
    said = schedule(5, 2).uneven()
    assert said.startswith(
        'phase1_learn: 5 learn samples are shared among 2 processes, 3 or 2 each'
    )
    assert 'up to 1.50 times' in said


@pytest.mark.distributed
def test_one_of_two_machines_goes_on_with_an_odd_batch(make_config, tmp_path):
    """The run of one process, and what two with half of it each were to go on with."""
    first, second = tmp_path / 'first', tmp_path / 'second'
    for folder, world, resume in ((first, 2, False), (second, 1, str(first / 'iter_4.pth'))):
        config = make_config(folder, world, resume=resume)
        config.train_dataloader.batch_size = 10 // world
        train_together(config, world)
    config = make_config(tmp_path / 'one', 1)
    config.train_dataloader.batch_size = 10
    train(config)
    whole = torch.load(tmp_path / 'one/record/rank0.pt', weights_only=False)['steps']
    steps = {step['iteration']: sorted(step['samples']) for step in whole}
    for folder, world in ((first, 2), (second, 1)):
        found = curve(folder, world)
        assert all(samples == steps[iteration] for iteration, (samples, *_) in found.items())
    log = next(first.glob('*/*.log')).read_text()
    assert '5 learn samples are shared among 2 processes, 3 or 2 each' in log
