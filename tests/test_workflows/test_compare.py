"""tools/compare.py: runs over seeds, what it repeats, and its table."""

import importlib.util
import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mmengine.config import Config

from knowswap_mm.workflows import processes
from knowswap_mm.workflows.compare import Run, prepared, read_runs, table
from tests.helpers.benchmark_runs import in_this_process
from tests.helpers.swap_configs import plain_config, swap_config, write_config

SCRIPT = Path(__file__).parents[2] / 'tools' / 'compare.py'


@pytest.fixture
def main(monkeypatch):
    """The command and those that it calls, all in this process: imports take long."""
    spec = importlib.util.spec_from_file_location('tool_compare', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    in_this_process(monkeypatch)

    def call(*arguments):
        monkeypatch.setattr(sys, 'argv', [str(SCRIPT), *map(str, arguments)])
        module.main()

    return call


def test_runs_failures_and_interruptions(main, picture_tree, host, tmp_path, capsys):
    swap = write_config(swap_config(picture_tree, tmp_path, host=host), tmp_path / 'swap.py')
    plain = write_config(plain_config(picture_tree, tmp_path), tmp_path / 'plain.py')
    out = tmp_path / 'out'
    (tmp_path / 'runs.txt').write_text(f'# two that work\nswap={swap}\n\nfrom scratch={plain}\n')
    wanted = [f'@{tmp_path / "runs.txt"}', f'broken={swap} model.lora.rank=0']
    options = ['--seeds', 4, '--roles', swap, '--out', out]
    with pytest.raises(SystemExit, match='Some runs failed'):
        main('--runs', *wanted, *options)
    text = capsys.readouterr().out
    assert 'failed, seed 4: ' in text and 'model.lora.rank = 0' in text
    results = {run['name']: run for run in json.loads((out / 'results.json').read_text())}
    assert list(results) == ['swap', 'from scratch', 'broken']
    assert list(results['swap']['states']) == ['start', 'phase1_learn', 'phase2_forget']
    assert list(results['from scratch']['states']) == ['start', 'trained']
    starts = [results[name]['states']['start']['metrics'] for name in ('swap', 'from scratch')]
    for role in ('learn', 'forget', 'retain'):
        assert starts[0][f'{role}/accuracy/top1'] == starts[1][f'{role}/accuracy/top1']
    last = {name: Path(results[name]['checkpoint']) for name in ('swap', 'from scratch')}
    assert all(path.is_file() for path in last.values())
    assert [path.name for path in last.values()] == ['phase2_forget.pth', 'epoch_2.pth']
    seed = Config.fromfile(out / 'swap_seed4' / 'config.py')
    assert seed.randomness.seed == 4
    assert {r.seed for r in seed.train_dataloader.dataset.roles.values()} == {4}

    # What is finished is not repeated; what was interrupted goes on.
    folder, done = out / 'swap_seed4', out / 'from_scratch_seed4' / 'output.log'
    logged = done.read_text()
    state = json.loads((folder / 'compare.json').read_text())
    (folder / 'compare.json').write_text(json.dumps(dict(state, finished=False, seconds=1000)))
    last['swap'].unlink()
    (folder / 'last_checkpoint').write_text(str(folder / 'phase1_learn.pth'))
    main('--runs', wanted[0], *options, '--states')
    assert (folder / 'output.log').read_text().count('Nothing to resume') == 1  # the first time
    assert done.read_text() == logged
    again = {run['name']: run for run in json.loads((out / 'results.json').read_text())}
    assert again['swap'].pop('seconds') >= 1000 and results['swap'].pop('seconds') < 1000
    assert again == {name: results[name] for name in again}
    assert last['swap'].is_file()
    text = (out / 'table.md').read_text()
    assert text.startswith('Split: val') and text in capsys.readouterr().out
    assert [line.split(' | ')[1] for line in text.splitlines()[4:]] == [
        'start', 'phase1_learn', 'phase2_forget', 'start', 'trained'
    ]  # fmt: skip

    # Other settings in the same folder are refused, not mixed.
    with pytest.raises(SystemExit, match='Some runs failed'):
        main('--runs', f'swap={swap} model.lora.rank=2', *options)
    text = (out / 'table.md').read_text()
    assert f'{folder} holds a run with other settings, those of config.py' in text
    assert '(by compare.json). Fix: use another --out, or remove that folder' in text

    # Where a run failed before it kept anything, another one may begin.
    failed = out / 'broken_seed4'
    assert (failed / 'compare.json').is_file() and not list(failed.glob('*.pth'))
    capsys.readouterr()
    main('--runs', f'broken={swap} model.lora.rank=2', *options)
    assert f'{failed}: the run with other settings there ended' in capsys.readouterr().out
    (anew,) = json.loads((out / 'results.json').read_text())
    assert list(anew['states'])[-1] == 'phase2_forget'


@pytest.mark.slow
def test_in_processes_of_their_own(picture_tree, host, tmp_path):
    swap = write_config(swap_config(picture_tree, tmp_path, host=host), tmp_path / 'swap.py')
    command = [sys.executable, str(SCRIPT), '--parallel', '2', '--out', str(tmp_path / 'out')]
    command += ['--runs', f'swap={swap}', f'broken={swap} model.lora.rank=0']
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=tmp_path)
    assert done.returncode == 1 and 'Some runs failed' in done.stderr
    rows = (tmp_path / 'out' / 'table.md').read_text().splitlines()[4:]
    assert rows[0].startswith('| swap | phase2_forget |') and rows[0].endswith('| 1 |')
    assert rows[1].startswith('| broken | failed, seed 0: ') and 'rank = 0' in rows[1]


def test_a_seed_draws_images_unless_a_role_has_its_own(picture_tree, tmp_path):
    cfg = swap_config(picture_tree, tmp_path)
    cfg.train_dataloader.dataset.roles.retain.seed = 3
    run = Run('swap', str(write_config(cfg, tmp_path / 'swap.py')), (), 7)
    cfg = prepared(run, 'val')
    seeds = {role: each.seed for role, each in cfg.train_dataloader.dataset.roles.items()}
    assert seeds == dict(learn=7, forget=7, retain=3) and cfg.randomness.seed == 7


def test_nothing_goes_on_alone(tmp_path):
    with open(tmp_path / 'output.log', 'w') as output, ThreadPoolExecutor(1) as pool:
        sleeper = [sys.executable, '-c', 'import time; print(1, flush=True); time.sleep(250)']
        future = pool.submit(processes.execute, sleeper, output)
        while not (tmp_path / 'output.log').read_text():
            time.sleep(0.05)
        processes.stop_all()
        assert future.result(timeout=60) == -signal.SIGTERM
    assert not processes.RUNNING


def result(name, seed, learn, forget, retain, seconds=10, kind='joint'):
    def metrics(*values):
        names = [f'{role}/accuracy/top1' for role in ('learn', 'forget', 'retain')]
        return dict(zip(names, values, strict=True))

    states = dict(start=dict(metrics=metrics(0.0, 99.0, 80.0)))
    states[f'phase1_{kind}'] = dict(metrics=metrics(learn, forget, retain))
    return dict(
        name=name, seed=seed, seconds=seconds, primary='accuracy/top1', scale=100.0, states=states
    )


def test_table():
    results = [
        result('a', 0, 90.0, 9.0, 90.0, 10),
        result('a', 1, 92.0, 7.0, 92.0, 20),
        result('b', 0, 60.0, 39.0, 60.0),
        dict(name='b', seed=1, error='it broke'),
    ]
    lines = table(results).splitlines()[2:]
    # The standard deviation of two values is their distance over the root of two.
    assert lines == [
        '| a | phase1_joint | 91.0 ± 1.4 | 8.0 ± 1.4 | 91.0 ± 1.4 | 91.0 ± 1.4 | 15 | 2 |',
        '| b | phase1_joint | 60.0 | 39.0 | 60.0 | 60.0 | 10 | 1 |',
        '| b | failed, seed 1: it broke | | | | | | |',
    ]
    whole = table(results, all_states=True).splitlines()[2:]
    assert whole[0] == '| a | start | 0.0 ± 0.0 | 99.0 ± 0.0 | 80.0 ± 0.0 | - | 15 | 2 |'
    assert len(whole) == 5


def test_roles_that_were_not_measured():
    run = result('a', 0, 90.0, 2.0, 70.0)
    for state in run['states'].values():
        del state['metrics']['forget/accuracy/top1']
    assert '| 90.0 | - | 70.0 | - |' in table([run])


def test_runs_that_are_about_fewer_roles_are_named():
    runs = [
        result('swap', 0, 60.0, 39.0, 60.0),
        result('control', 0, 60.0, 9.0, 60.0, kind='learn'),
    ]
    text = table(runs)
    assert '| control | phase1_learn | 60.0 | 9.0 | 60.0 | 60.0 | 10 | 1 |' in text
    note = 'H-mean of the roles that a run is about: all three, but learn and retain in control.'
    assert text.endswith(f'\n\n{note}')


@pytest.mark.parametrize(
    ('runs', 'message'),
    [
        (['only-a-name'], 'is not NAME=CONFIG'),
        (['a='], 'is not NAME=CONFIG'),
        (['a=missing.py'], 'no config file missing.py'),
        (['@missing.txt'], 'no such file'),
    ],
)
def test_bad_runs(runs, message):
    with pytest.raises(SystemExit, match=message):
        read_runs(runs, [0])


def test_two_runs_need_two_names(tmp_path):
    (tmp_path / 'a.py').write_text('')
    with pytest.raises(SystemExit, match='share the folder a_b_seed0'):
        read_runs([f'a b={tmp_path / "a.py"}', f'a:b={tmp_path / "a.py"}'], [0, 1])


def test_plain_configs_need_roles(main, picture_tree, tmp_path):
    plain = write_config(plain_config(picture_tree, tmp_path), tmp_path / 'plain.py')
    with pytest.raises(SystemExit, match='has no roles.*--roles'):
        main('--runs', f'a={plain}', '--out', tmp_path / 'out')
