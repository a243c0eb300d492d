"""Exports of tiny swaps, and the host libraries' own tools on what was exported."""

from __future__ import annotations

import copy
import json
import re
import runpy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.registry import MODELS, RUNNERS, DefaultScope

from knowswap_mm.lora.tensors import is_adapter_key

TOOL = Path(__file__).parents[2] / 'tools' / 'model_converters' / 'export.py'
#: Runs inferencers and test.py in a process in which our package cannot be imported.
STOCK = """
import importlib, importlib.util, json, os, pathlib, runpy, sys

class Refuse:
    def find_spec(self, name, *rest):
        if name.split('.')[0] == 'knowswap_mm':
            raise ImportError(name)

def plain(value):
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value.tolist() if hasattr(value, 'tolist') else value

sys.meta_path.insert(0, Refuse())
import yapf.yapflib.yapf_api as formatter  # it takes seconds for the config that a runner logs
formatter.FormatCode = lambda text, **_: (text, True)
package, inferencer, work, jobs = json.loads(sys.argv[1])
(root,) = importlib.util.find_spec(package.split('.')[0]).submodule_search_locations
tools = os.path.join(root, '.mim/tools')
for number, (folder, roles, images) in enumerate(jobs):
    weights, into = f'{folder}/model.pth', pathlib.Path(work, str(number))
    into.mkdir()
    found = []
    if images:
        tool = getattr(importlib.import_module(package), inferencer)(f'{folder}/config.py', weights)
        found = [tool(image) for image in images]
    (into / 'found.json').write_text(json.dumps(plain(found)))
    for role in roles:
        sys.argv = ['test.py', f'{folder}/test_{role}.py', weights, '--work-dir', str(into / role)]
        # Runs that begin in one second would share a logger, and so a folder, by their names.
        sys.argv += ['--cfg-options', f'experiment_name=job{number}_{role}']
        runpy.run_path(f'{tools}/test.py', run_name='__main__')
assert not [name for name in sys.modules if name.startswith('knowswap_mm')]
"""


def save_swapped(config: Any, classes: Sequence[str], path: Path) -> Path:
    """A checkpoint of a swap without training: adapters and class rows are random.

    They are so large that the model tells images apart.
    """
    with DefaultScope.overwrite_default_scope(config.default_scope), torch.random.fork_rng():
        swapper = MODELS.build(copy.deepcopy(config.model))
        swapper.load_state_dict(torch.load(config.load_from, weights_only=True)['state_dict'])
        state = swapper.state_dict()
        torch.manual_seed(1)
        for name in (key for key in state if is_adapter_key(key)):
            state[name] = 0.3 * torch.randn_like(state[name])
        for name in (f'host.{tensor.name}' for tensor in swapper.class_rows.tensors):
            state[name] = torch.randn_like(state[name])
    meta = dict(dataset_meta=dict(classes=tuple(classes)))
    torch.save(dict(state_dict=state, meta=meta), path)
    return path


def own_runner(config: Any, checkpoint: Path) -> Any:
    """A runner with the unmerged model; ``test()`` gives our figures by role."""
    config = copy.deepcopy(config)  # DINO writes into it
    config.load_from = str(checkpoint)
    return RUNNERS.build(config)


def predictions(config: Any, checkpoint: Path) -> list[Any]:
    """What the unmerged model finds in the test data, sample by sample."""
    runner = own_runner(config, checkpoint)
    runner.load_or_resume()
    runner.model.eval()
    with torch.no_grad():
        found = [runner.model.test_step(batch) for batch in runner.test_loop.dataloader]
    return [sample for batch in found for sample in batch]


def export(config: Path, checkpoint: Path, out: Path, *options: str) -> dict[str, Any]:
    """Runs the tool in this process; returns what it recorded."""
    arguments = [config, checkpoint, '--out', out, *options]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', ['export.py', *map(str, arguments)])
        runpy.run_path(str(TOOL), run_name='__main__')
    return json.loads((out / 'export.json').read_text())


def stock(
    package: str, inferencer: str, work: Path, *jobs: tuple[Path, Sequence[str], Sequence[Any]]
) -> list[tuple[list[Any], dict[str, Any], dict[str, Any]]]:
    """Runs the tools of a host library without our package, from another folder.

    Each job is an exported folder, the roles to test and images for the inferencer. Returns by
    job what the inferencer found, the figures by role, and the table of classes in the log by role.
    """
    work.mkdir()
    given = [(str(folder), list(roles), list(map(str, files))) for folder, roles, files in jobs]
    command = [sys.executable, '-c', STOCK, json.dumps([package, inferencer, str(work), given])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, cwd=work)
    assert done.returncode == 0, done.stderr[-3000:]
    results = []
    for number, (_, roles, _) in enumerate(jobs):
        into, figures, tables = work / str(number), {}, {}
        for role in roles:
            (written,) = (into / role).glob('*/*.json')
            figures[role] = json.loads(written.read_text())
            (log,) = (into / role).glob('*/*.log')
            tables[role] = _table(log.read_text())
        results.append((json.loads((into / 'found.json').read_text()), figures, tables))
    return results


def _table(log: str) -> dict[str, dict[str, float]]:
    """The table of a log by its first column."""
    lines = re.findall(r'^\|(.*)\|$', log, re.MULTILINE)
    rows = [[cell.strip() for cell in line.split('|')] for line in lines]
    return {row[0]: dict(zip(rows[0][1:], map(float, row[1:]), strict=True)) for row in rows[1:]}
