"""Trains hosts, says whether they are converged, and keeps them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from knowswap_mm.engine.config import open_config
from knowswap_mm.io.files import write_json, write_text
from knowswap_mm.io.text_files import read_json
from knowswap_mm.runs.reader import ScalarLog
from knowswap_mm.workflows import processes
from knowswap_mm.workflows.compare import CONFIGS
from knowswap_mm.workflows.processes import RunFailed, call
from real.data import fit_endings
from real.plan import HOSTS, ROOT, Host

#: A host is converged if the last quarter of its training gained no more points on validation.
PLATEAU = 1.0


def weights_of(out: Path, name: str) -> Path:
    """Where a finished host is kept, in fp16; beside it is what was measured."""
    return out / 'hosts' / f'{name}.safetensors'


def card_of(out: Path, name: str) -> Path:
    """What was measured of a finished host."""
    return out / 'hosts' / f'{name}.measured.json'


def train_host(name: str, args: argparse.Namespace, host: Host | None = None) -> None:
    """Train a host (one of :data:`HOSTS`, or another one), unless it is there.

    Then its test images are read once.

    Raises:
        RunFailed: If a command fails.
    """
    host, weights = host or HOSTS[name], weights_of(args.work_dir, name)
    if weights.is_file():
        return
    folder = args.work_dir / 'hosts' / name
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / 'config.py'
    with CONFIGS:
        cfg = open_config(host.path, args.host_options)
        if host.seed is not None:
            cfg.randomness = dict(cfg.get('randomness', {}), seed=host.seed)
        fit_endings(cfg)
        write_text(config, cfg.pretty_text)
        last = folder / f'iter_{cfg.train_cfg.max_iters}.pth'
    if not last.is_file():
        call(folder, 'train', config, '--work-dir', folder, '--resume')
    measured = folder / 'test.json'
    call(folder, 'test', config, last, '--work-dir', folder / 'test', '--out', measured)
    value = 100 * read_json(measured)[host.metric] / host.scale
    card = dict(convergence(curve_of(folder, host)), test=round(value, 2), least=host.least)
    weights.parent.mkdir(parents=True, exist_ok=True)
    write_json(card_of(args.work_dir, name), card)
    publish(last, config, weights)
    for path in folder.glob('*.pth'):
        path.unlink()


def publish(checkpoint: Path, config: Path, out: Path) -> None:
    """Keep the weights in fp16, with a card."""
    script = ROOT / 'tools/model_converters/publish_weights.py'
    with (config.parent / 'output.log').open('a') as output:
        words = [sys.executable, script, checkpoint, '--config', config, '--out', out]
        if processes.execute([str(word) for word in words], output):
            raise RunFailed(f'{checkpoint} cannot be published, see {config.parent}/output.log')


def curve_of(folder: Path, host: Host) -> dict[int, float]:
    """Validation by iteration, in percent."""
    points = ScalarLog.of_run(folder).evaluated(host.metric)
    return {step: round(100 * value / host.scale, 2) for step, value in points}


def convergence(curve: Mapping[int, float]) -> dict[str, Any]:
    """Whether a curve of validations has a plateau at its end."""
    values = list(curve.values())
    late = max(len(values) // 4, 1)
    gained = None
    if len(values) > late:
        gained = round(max(values[-late:]) - max(values[:-late]), 2)
    converged = gained is not None and gained <= PLATEAU
    return dict(curve=dict(curve), gained_at_the_end=gained, converged=converged)


def measured(out: Path, name: str) -> dict[str, Any] | None:
    """What was measured of a finished host; None if it is not there."""
    path = card_of(out, name)
    return read_json(path) if path.is_file() else None
