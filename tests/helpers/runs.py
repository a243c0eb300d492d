"""Whole swaps of a detector and a segmentor, as their tests run and compare them."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import torch
from mmengine.registry import RUNNERS

from tests.helpers.swap_configs import write_config

PHASES = [
    dict(kind='learn', iters=3, weights=dict(sparsity=0.01)),
    dict(kind='forget', iters=3, bound=90.0, merge_learned=True, weights=dict(sparsity=0.01)),
]


def train(config):
    """Train as the config says; returns the runner."""
    runner = RUNNERS.build(config)
    runner.train()
    return runner


def results_of(folder):
    """The results of a run."""
    return json.loads((folder / 'swap_results.json').read_text())


def check_equal_ends(folder, other):
    """Two runs of ``PHASES`` have the same weights and results."""
    found, wanted = (
        torch.load(path / 'phase2_forget.pth', weights_only=False)['state_dict']
        for path in (folder, other)
    )
    assert list(found) == list(wanted)
    for name, tensor in wanted.items():
        assert torch.equal(found[name], tensor), name
    # As text, since some figures are NaN.
    metrics = [
        json.dumps(results_of(f)['states']['phase2_forget']['metrics']) for f in (folder, other)
    ]
    assert metrics[0] == metrics[1]


def check_hosts_own_tool(package, runner, folder, metric, tmp_path):
    """A host's ``test.py`` with our config and a checkpoint of a phase gives the run's figures."""
    config = write_config(runner.cfg, tmp_path / 'config.py')
    spec = importlib.util.find_spec(package)
    tool = Path(spec.submodule_search_locations[0]) / '.mim' / 'tools' / 'test.py'
    command = [sys.executable, str(tool), str(config), str(folder / 'phase1_learn.pth')]
    command += ['--work-dir', str(tmp_path / 'test')]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    (written,) = (tmp_path / 'test').glob('*/*.json')
    found = json.loads(written.read_text())
    wanted = results_of(folder)['states']['phase1_learn']['metrics']
    for role in ('learn', 'forget', 'retain'):
        assert found[f'{role}/{metric}'] == wanted[f'{role}/{metric}']
