"""Trains and measures one run of a comparison, unless that was done."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import threading
import time
from pathlib import Path

from mmengine.config import Config

from knowswap_mm.comparison.processes import RunFailed, call
from knowswap_mm.comparison.run import Run
from knowswap_mm.engine.atomic_file import write_json, write_text
from knowswap_mm.engine.swap_results import START, SwapResults
from knowswap_mm.engine.tool_config import open_config
from knowswap_mm.errors import FileError, SwapError
from knowswap_mm.json_file import read_json

TRAINED = 'trained'
#: Configs are read and written by one thread at a time.
CONFIGS = threading.Lock()


def prepared(run: Run, split: str) -> Config:
    """The config of a run with its seed and the pictures of the split."""
    cfg = open_config(run.config)
    cfg.randomness = dict(cfg.get('randomness', {}), seed=run.seed)
    if 'swap' not in cfg:
        cfg.runner_type = cfg.get('runner_type', 'Runner')
        return cfg
    cfg.default_hooks.checkpoint.interval = 100000  # each phase ends with a checkpoint
    for role in cfg.train_dataloader.dataset.roles.values():
        role.seed = run.seed
    if split == 'test':
        cfg.val_dataloader.dataset = cfg.test_dataloader.dataset
    return cfg


def measure(checkpoint: str | Path, roles: str, split: str, work_dir: Path, name: str) -> dict:
    """Metrics of a plain checkpoint by role."""
    with CONFIGS:
        cfg = open_config(roles)
        cfg.test_dataloader.dataset = cfg[f'{split}_dataloader'].dataset
        cfg.test_evaluator = cfg.val_evaluator
        write_text(work_dir / 'roles.py', cfg.pretty_text)
    out = work_dir / f'{name}.json'
    folder = work_dir / 'by_role'
    call(work_dir, 'test', work_dir / 'roles.py', checkpoint, '--out', out, '--work-dir', folder)
    return read_json(out)


def evaluate_plain(run: Run, args: argparse.Namespace, work_dir: Path) -> Path:
    """Write the results of a training without roles; return its last checkpoint."""
    checkpoint = Path((work_dir / 'last_checkpoint').read_text().strip())
    with CONFIGS:
        roles = open_config(args.roles)
    evaluator = roles.val_evaluator
    evaluator = evaluator if isinstance(evaluator, dict) else evaluator[0]
    results = SwapResults(evaluator.get('primary', 'accuracy/top1'), evaluator.get('scale', 100.0))
    if roles.get('load_from') and Path(roles.load_from).is_file():
        before = measure(roles.load_from, args.roles, args.split, work_dir, START)
        results.add(START, 0, before)
    after = measure(checkpoint, args.roles, args.split, work_dir, TRAINED)
    results.add(TRAINED, int(re.findall(r'\d+', checkpoint.stem)[-1]), after)
    results.write(work_dir / 'swap_results.json', seed=run.seed)
    return checkpoint


def fingerprint(cfg: Config, run: Run, args: argparse.Namespace) -> str:
    """Tell whether a folder holds this very run."""
    roles = {} if 'swap' in cfg else open_config(args.roles).to_dict()
    text = json.dumps([cfg.to_dict(), run.options, args.split, roles], default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def train(run: Run, args: argparse.Namespace, out: Path) -> dict:
    """Train in a process of its own, unless it was done; return the results."""
    work_dir = out / run.folder
    work_dir.mkdir(parents=True, exist_ok=True)
    state_file = work_dir / 'compare.json'
    with CONFIGS:
        cfg = prepared(run, args.split)
        state = dict(fingerprint=fingerprint(cfg, run, args), seconds=0.0, finished=False)
    result = dict(name=run.name, seed=run.seed, config=run.config, work_dir=str(work_dir))
    if state_file.is_file():
        stored = read_json(state_file)
        if not isinstance(stored, dict) or not set(state) <= set(stored):
            raise FileError(state_file, 'is no state of a run', 'use another --out')
        if stored['fingerprint'] != state['fingerprint']:
            error = f'{work_dir} holds a run with other settings; use another --out'
            return dict(result, error=error)
        state = stored
    started = time.time()
    try:
        if not state['finished']:
            write_json(state_file, state)
            with CONFIGS:
                write_text(work_dir / 'config.py', cfg.pretty_text)
            options = ['--cfg-options', *run.options] if run.options else []
            call(work_dir, 'train', work_dir / 'config.py', '--work-dir', work_dir,
                 '--resume', *options)  # fmt: skip
            if 'swap' not in cfg:
                state['checkpoint'] = str(evaluate_plain(run, args, work_dir))
            state['finished'] = True
    except (RunFailed, SwapError) as error:
        return dict(result, error=str(error))
    finally:
        state['seconds'] += time.time() - started
        write_json(state_file, state)
    results = SwapResults.read(work_dir / 'swap_results.json')
    last = work_dir / f'{list(results.states)[-1]}.pth'
    return dict(
        result,
        seconds=round(state['seconds']),
        checkpoint=state.get('checkpoint', str(last)),
        primary=results.primary,
        scale=results.scale,
        states=results.states,
    )
