"""tools/test.py, and the host's own."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.swap_configs import forget, learn, swap_config, train, write_config

SCRIPT = Path(__file__).parents[2] / 'tools' / 'test.py'


@pytest.fixture(scope='module')
def run(picture_tree, host, tmp_path_factory):
    """Config file and folder of a finished run."""
    folder = tmp_path_factory.mktemp('run')
    phases = [learn(iters=8), forget(iters=4)]
    config = swap_config(picture_tree, folder, phases, host=host, policy='new_rows')
    train(config)
    return write_config(config, folder / 'config.py'), folder


@pytest.fixture
def main(monkeypatch):
    """The command, in this process."""
    spec = importlib.util.spec_from_file_location('tool_test', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv('LOCAL_RANK', '0')

    def call(*arguments):
        monkeypatch.setattr(sys, 'argv', [str(SCRIPT), *map(str, arguments)])
        module.main()

    return call


def stored(folder, state):
    metrics = json.loads((folder / 'swap_results.json').read_text())['states'][state]['metrics']
    return {k: v for k, v in metrics.items() if k == 'swap/score' or not k.startswith('swap/')}


@pytest.mark.parametrize('state', ['phase1_learn', 'phase2_forget'])
def test_numbers_of_a_phase(state, run, main, tmp_path):
    config, folder = run
    out = tmp_path / 'metrics.json'
    main(config, folder / f'{state}.pth', '--out', out, '--work-dir', tmp_path)
    assert json.loads(out.read_text()) == stored(folder, state)


def test_numbers_of_the_host(run, main, host, tmp_path):
    config, folder = run
    out = tmp_path / 'metrics.json'
    main(config, host, '--out', out, '--work-dir', tmp_path)
    assert json.loads(out.read_text()) == stored(folder, 'start')


@pytest.mark.parametrize('resume', ['auto', True, 'iter_8.pth'])
def test_the_config_of_a_resumed_run(resume, run, main, host, tmp_path):
    """It still says ``resume``, and weights are tested that hold no training state."""
    config, folder = run
    kept = tmp_path / 'kept.py'
    kept.write_text(f'{config.read_text()}\nresume = {resume!r}\n')
    out = tmp_path / 'metrics.json'
    for weights, state in ((folder / 'phase1_learn.pth', 'phase1_learn'), (host, 'start')):
        main(kept, weights, '--out', out, '--work-dir', tmp_path)
        assert json.loads(out.read_text()) == stored(folder, state)


def test_options_reach_the_evaluation(run, main, tmp_path):
    config, folder = run
    out = tmp_path / 'metrics.json'
    options = [
        '--cfg-options',
        'test_evaluator.metric.0.topk=(2,)',
        'test_evaluator.primary=accuracy/top2',
    ]
    main(config, folder / 'phase1_learn.pth', '--out', out, '--work-dir', tmp_path, *options)
    metrics = json.loads(out.read_text())
    assert sorted(metrics) == [f'{r}/accuracy/top2' for r in ('forget', 'learn', 'retain')] + [
        'swap/score'
    ]


def test_refusals(run, main, tmp_path):
    config, folder = run
    with pytest.raises(SystemExit, match='no such file'):
        main(config, tmp_path / 'missing.pth', '--work-dir', tmp_path)
    with pytest.raises(SystemExit, match='there is no config file'):
        main(tmp_path / 'missing.py', folder / 'phase1_learn.pth')
    (tmp_path / 'broken.pth').write_bytes(b'no checkpoint')
    with pytest.raises(SystemExit, match='CheckpointError'):
        main(config, tmp_path / 'broken.pth', '--work-dir', tmp_path)


@pytest.mark.slow
def test_the_hosts_own_tool_gives_the_same_numbers(run, tmp_path):
    """mmpretrain's test.py with our config and a checkpoint of a phase."""
    spec = importlib.util.find_spec('mmpretrain')
    tool = Path(spec.submodule_search_locations[0]) / '.mim' / 'tools' / 'test.py'
    config, folder = run
    out = tmp_path / 'metrics.json'
    command = [
        sys.executable, str(tool), str(config), str(folder / 'phase2_forget.pth'),
        '--work-dir', str(tmp_path), '--out', str(out), '--out-item', 'metrics',
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(out.read_text()) == stored(folder, 'phase2_forget')
