"""Runs that die: nothing is lost, and going on gives the result of a run that did not die."""

import fcntl
import json
import multiprocessing
import signal

import pytest
import torch
from mmengine.registry import RUNNERS

from knowswap_mm.engine import PreemptionHook, SwapCheckpointHook
from knowswap_mm.engine import runner as swap_runner_module
from knowswap_mm.errors import CheckpointError
from knowswap_mm.io.files import remove_partial, write_atomic
from knowswap_mm.runs import checkpoints as checkpoints_module
from knowswap_mm.runs.checkpoints import read_latest, write_latest
from tests.helpers.faults import FaultHook
from tests.helpers.swap_configs import (
    assert_same_weights,
    forget,
    learn,
    swap_config,
    train,
    weights_of,
)

PHASES = [learn(iters=4), forget(iters=4, restart_optimizer=True)]


@pytest.fixture(scope='module')
def make_config(picture_tree, host):
    def make(folder, **changes):
        settings = dict(host=host, dropout=0.1, policy='new_rows')
        settings |= dict(default_hooks__checkpoint__interval=2, train_dataloader__num_workers=1)
        settings |= dict(default_hooks__checkpoint__max_keep_ckpts=2)
        return swap_config(picture_tree, folder, PHASES, **(settings | changes))

    return make


@pytest.fixture(scope='module')
def whole(make_config, tmp_path_factory):
    """A run that nothing happened to."""
    folder = tmp_path_factory.mktemp('whole')
    train(make_config(folder))
    return folder


def die(config):
    """Train in a process of its own; returns its exit code."""
    process = multiprocessing.get_context('fork').Process(target=train, args=(config,))
    process.start()
    process.join(120)
    assert process.exitcode is not None
    return process.exitcode


CASES = [
    *(('SIGKILL', 'iteration', at) for at in (1, 3, 4, 7)),
    *(('SIGKILL', where, at) for where in ('writing', 'naming') for at in (1, 3, 6)),
    *(('SIGKILL', 'evaluation', at) for at in (0, 4, 8)),
    *(('SIGTERM', 'iteration', at) for at in (0, 3, 6)),
    ('SIGTERM', 'evaluation', 4),
]


@pytest.mark.slow
@pytest.mark.parametrize('name, where, at', CASES)
def test_a_run_that_died_goes_on_to_the_same_end(name, where, at, make_config, whole, tmp_path):
    fault = [dict(type=FaultHook, name=name, where=where, at=at)]
    code = die(make_config(tmp_path, custom_hooks=fault))
    number = signal.Signals[name]
    assert code == (-number if name == 'SIGKILL' else 128 + number)
    assert (tmp_path / 'fault').exists()
    found = (read_latest(tmp_path) or [None])[0]
    if name == 'SIGTERM' and where == 'iteration':
        assert found == tmp_path / f'iter_{at + 1}.pth'
        assert 'Stopped by SIGTERM' in next(tmp_path.glob('*/*.log')).read_text()
    config = make_config(tmp_path, experiment_name='again')
    config.resume = found is not None
    if config.resume:
        config.load_from = None  # found by the runner
    train(config)
    left, right = (weights_of(f / 'phase2_forget.pth') for f in (whole, tmp_path))
    assert_same_weights(left, right)
    left, right = (json.loads((f / 'swap_results.json').read_text()) for f in (whole, tmp_path))
    assert left == right
    assert not list(tmp_path.glob('*.partial')) or where in ('writing', 'naming')


def test_the_old_checkpoint_goes_after_the_new_one_is_safe(make_config, tmp_path, monkeypatch):
    kept = []
    save = SwapCheckpointHook._save_checkpoint_with_step

    def spied(hook, runner, step, meta):
        write = runner.save_checkpoint

        def saving(*args, **kwargs):
            kept.append(sorted(path.name for path in tmp_path.glob('iter_*.pth')))
            write(*args, **kwargs)

        monkeypatch.setattr(runner, 'save_checkpoint', saving)
        save(hook, runner, step, meta)
        monkeypatch.setattr(runner, 'save_checkpoint', write)

    monkeypatch.setattr(SwapCheckpointHook, '_save_checkpoint_with_step', spied)
    train(make_config(tmp_path, default_hooks__checkpoint__max_keep_ckpts=1))
    assert kept == [[], ['iter_2.pth'], ['iter_4.pth'], ['iter_6.pth']]
    assert [path.name for path in tmp_path.glob('iter_*.pth')] == ['iter_8.pth']
    assert read_latest(tmp_path)[0] == tmp_path / 'phase2_forget.pth'


def damaged(path, how):
    content = bytearray(path.read_bytes())
    if how == 'truncated':
        content = content[: len(content) // 2]
    elif how == 'empty':
        content = bytearray()
    else:
        content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize('how', ['truncated', 'empty', 'one bit'])
def test_a_damaged_newest_file_gives_way_to_the_one_before(how, make_config, whole, tmp_path):
    for path in (*whole.glob('iter_*.pth'), whole / 'phase1_learn.pth'):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    write_latest(tmp_path, whole / 'iter_8.pth')
    assert read_latest(tmp_path)[0] == whole / 'iter_8.pth'
    write_latest(tmp_path, '/elsewhere/iter_8.pth')
    assert read_latest(tmp_path)[0] == tmp_path / 'iter_8.pth'
    damaged(tmp_path / 'iter_8.pth', how)
    with pytest.warns(UserWarning, match=r'Not resumed from: .*iter_8.pth is damaged'):
        assert read_latest(tmp_path)[0].name in ('iter_6.pth', 'phase1_learn.pth')
    config = make_config(tmp_path)
    config.resume, config.load_from = True, None
    with pytest.warns(UserWarning, match='Not resumed from'):
        train(config)
    left, right = (weights_of(f / 'phase2_forget.pth') for f in (whole, tmp_path))
    assert_same_weights(left, right)


def test_nothing_that_can_be_resumed_from(tmp_path):
    assert read_latest(tmp_path) is None
    torch.save(dict(state_dict={}), tmp_path / 'iter_2.pth')
    (tmp_path / 'phase1_learn.pth').write_bytes(b'')
    with (
        pytest.warns(UserWarning, match='no training state'),
        pytest.raises(CheckpointError, match='None of the 2 checkpoints .* Fix: start anew'),
    ):
        read_latest(tmp_path)


def test_a_full_disk_is_reported_and_what_was_there_survives(tmp_path):
    path = tmp_path / 'a.pth'
    write_atomic(path, lambda file: file.write(b'first'))

    def full(file):
        file.write(b'second')
        raise OSError(28, 'No space left on device')

    with pytest.raises(CheckpointError, match=r'a.pth could not be written \(No space.*Fix: make'):
        write_atomic(path, full)
    assert path.read_bytes() == b'first' and list(tmp_path.iterdir()) == [path]


def test_a_run_on_a_disk_that_gets_full(make_config, tmp_path, whole):
    """The limit of the size of a file stands for the disk: what is written beyond it fails."""
    import resource

    def limited(config):
        runner = RUNNERS.build(config)
        save = runner.save_checkpoint

        def saving(folder, name, *args, **kwargs):
            if name == 'iter_6.pth':
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
            save(folder, name, *args, **kwargs)

        runner.save_checkpoint = saving
        try:
            runner.train()
        except CheckpointError as error:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            (tmp_path / 'message').write_text(str(error))
            raise SystemExit(7) from None

    process = multiprocessing.get_context('fork').Process(
        target=limited, args=(make_config(tmp_path),)
    )
    process.start()
    process.join(120)
    assert process.exitcode == 7
    assert 'iter_6.pth could not be written' in (tmp_path / 'message').read_text()
    assert read_latest(tmp_path)[0] in (tmp_path / 'iter_4.pth', tmp_path / 'phase1_learn.pth')
    assert not list(tmp_path.glob('*.partial'))
    config = make_config(tmp_path, experiment_name='again')
    config.resume, config.load_from = True, None
    train(config)
    left, right = (weights_of(f / 'phase2_forget.pth') for f in (whole, tmp_path))
    assert_same_weights(left, right)


def test_bad_settings(raises_config_error):
    for value in ('SIGTERM', ['SIGNOTHING']):
        with raises_config_error('custom_hooks.PreemptionHook.signals', value):
            PreemptionHook(signals=value)
    for value in (0, 1.5, True):
        with raises_config_error('custom_hooks.PreemptionHook.interval', value):
            PreemptionHook(interval=value)


def test_signals_are_given_back(make_config, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    train(make_config(tmp_path))
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'where', 'found'),
    [
        ('SIGTERM', 'iteration', 'iter_5.pth'),
        ('SIGUSR1', 'iteration', 'iter_5.pth'),
        ('SIGTERM', 'evaluation', 'phase1_learn.pth'),
    ],
)
def test_a_cluster_signals_the_workers_of_data_loaders_as_well(
    name, where, found, make_config, tmp_path
):
    fault = dict(type=FaultHook, name=name, where=where, at=4, workers=True)
    listener = dict(type='knowswap_mm.PreemptionHook', signals=[name])
    config = make_config(
        tmp_path, custom_hooks=[fault, listener], train_dataloader__persistent_workers=True
    )
    assert die(config) == 128 + signal.Signals[name]
    assert read_latest(tmp_path)[0] == tmp_path / found


@pytest.mark.slow
def test_what_a_signal_saved_counts_as_a_checkpoint(make_config, tmp_path):
    fault = [dict(type=FaultHook, name='SIGTERM', where='iteration', at=4)]
    assert die(make_config(tmp_path, custom_hooks=fault)) == 128 + signal.SIGTERM
    names = sorted(path.name for path in tmp_path.glob('iter_*.pth'))
    assert names == ['iter_4.pth', 'iter_5.pth']  # max_keep_ckpts is 2
    config = make_config(tmp_path, experiment_name='again', resume='auto')
    train(config)
    names = sorted(path.name for path in tmp_path.glob('iter_*.pth'))
    assert names == ['iter_6.pth', 'iter_8.pth']


@pytest.mark.parametrize(
    ('at', 'named'),
    [(0, 'there is no checkpoint yet. Start again'), (4, 'phase1_learn.pth is the last checkp')],
)
def test_a_stop_in_an_evaluation_names_a_checkpoint_that_is_there(at, named, make_config, tmp_path):
    """One that an earlier run left in the folder is none of this run."""
    (tmp_path / 'iter_2.pth').touch()
    write_latest(tmp_path, tmp_path / 'iter_2.pth')
    fault = [dict(type=FaultHook, name='SIGTERM', where='evaluation', at=at)]
    assert die(make_config(tmp_path, custom_hooks=fault)) == 128 + signal.SIGTERM
    log = next(tmp_path.glob('*/*.log')).read_text()
    said = next(line for line in log.splitlines() if 'Stopped by SIGTERM' in line)
    assert named in said and 'iter_2' not in said


def test_a_checkpoint_hook_that_saves_too_little_is_not_asked(make_config, tmp_path):
    fault = [dict(type=FaultHook, name='SIGTERM', where='iteration', at=1)]
    config = make_config(tmp_path, custom_hooks=fault)
    config.default_hooks.checkpoint.save_optimizer = False
    assert die(config) == 128 + signal.SIGTERM
    assert read_latest(tmp_path)[0] == tmp_path / 'iter_2.pth'


def test_what_a_kill_left_half_written_is_removed_at_the_next_start(make_config, tmp_path):
    left = ['iter_2.pth.partial', 'phase1_learn.pth.partial', 'schedule.json.partial']
    for name in [*left, 'mine.partial', 'data.pth.partial', 'iter_8.pth.partial']:
        (tmp_path / name).write_bytes(b'half')
    (tmp_path / 'iter_99.pth.partial').symlink_to(tmp_path / 'mine.partial')
    with (tmp_path / 'iter_8.pth.partial').open('rb') as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # another process is writing it
        removed = remove_partial(tmp_path, ('iter_*.pth', 'phase*.pth', '*.json'))
    assert sorted(path.name for path in removed) == left
    (tmp_path / left[0]).write_bytes(b'half')
    config = make_config(tmp_path)
    config.swap.phases = config.swap.phases[:1]
    train(config)
    assert sorted(path.name for path in tmp_path.glob('*.partial')) == [
        'data.pth.partial',
        'iter_99.pth.partial',
        'mine.partial',
    ]


def test_a_refused_run_removes_nothing(make_config, tmp_path):
    (tmp_path / 'iter_2.pth.partial').write_bytes(b'half')
    config = make_config(tmp_path, resume=str(tmp_path / 'none.pth'))
    with pytest.raises(CheckpointError, match='no such file'):
        train(config)
    assert (tmp_path / 'iter_2.pth.partial').exists()


def test_checkpoints_of_an_earlier_run_are_not_resumed_from(make_config, whole, tmp_path):
    """A folder is used again, and the new run dies before its first checkpoint."""
    for path in whole.glob('*.*'):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    write_latest(tmp_path, whole / 'phase2_forget.pth')
    fault = [dict(type=FaultHook, name='SIGKILL', where='iteration', at=1)]
    assert die(make_config(tmp_path, custom_hooks=fault)) == -signal.SIGKILL
    with pytest.warns(UserWarning, match='is of an earlier run in this folder'):
        runner, recorder = train(make_config(tmp_path, experiment_name='again', resume='auto'))
    assert recorder.column('iteration') == list(range(8))
    record = json.loads((tmp_path / 'run.json').read_text())
    assert record['run'] == runner.run_id != json.loads((whole / 'run.json').read_text())['run']


def test_the_checkpoint_is_read_once(make_config, whole, tmp_path, monkeypatch):
    for path in whole.glob('iter_*.pth'):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    read = []
    load = checkpoints_module.safe_load
    for module in (checkpoints_module, swap_runner_module):
        monkeypatch.setattr(
            module, 'safe_load', lambda path, *rest: read.append(str(path)) or load(path, *rest)
        )
    train(make_config(tmp_path, resume='auto'))
    assert read == [str(tmp_path / 'iter_8.pth')]
