"""Runs swaps and baselines over seeds, several at a time, and prints one table of their results.

    python tools/compare.py --split test --seeds 0 1 2 --parallel 2 --out work_dirs/compare --runs \
        swap=configs/classification/vit-fashion_7cls_learn-forget.py \
        'small steps=configs/classification/vit-fashion_7cls_learn-forget.py lr_factor=0.1' \
        retrain=configs/classification/baselines/vit-fashion_10cls_retrain.py \
        --roles configs/classification/vit-fashion_7cls_learn-forget.py

A run is NAME=CONFIG, with overrides of the config after it; `@FILE` stands for a file with a run a
line. A config without `swap` is trained by its own runner and evaluated by role with the classes
and data of `--roles`. The same command goes on after an interruption: finished runs are not
repeated. Settings are chosen on the `val` split; `--split test` measures on the test pictures
instead, for a table that is published. Folders of the runs are kept under `--out`, with `table.md`
and `results.json` (all seeds, all states, and the last checkpoint of each run).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mmengine.config import Config

from knowswap_mm.engine.swap_results import START, SwapResults
from knowswap_mm.engine.tool_config import check_place, open_config
from knowswap_mm.errors import ConfigError, FileError, SwapError
from knowswap_mm.json_file import read_json
from knowswap_mm.roles import ROLES

ROOT = Path(__file__).resolve().parents[1]
TRAINED = 'trained'
#: Configs are read and written by one thread at a time.
CONFIGS = threading.Lock()
#: Processes at work, each with a group of its own for its data workers.
RUNNING: set[subprocess.Popen] = set()


@dataclass(frozen=True)
class Run:
    """One training: a named config with overrides, and a seed."""

    name: str
    config: str
    options: tuple[str, ...]
    seed: int

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return f'{re.sub(r"[^A-Za-z0-9.,_-]+", "_", self.name)}_seed{self.seed}'


class RunFailed(Exception):
    """A command of a run came back with an error; the message is the end of its output."""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--runs', nargs='+', required=True, metavar='NAME=CONFIG [OPTIONS]')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0])
    parser.add_argument('--split', choices=['val', 'test'], default='val')
    parser.add_argument('--roles', help='swap config that gives classes and data to plain configs')
    parser.add_argument('--parallel', type=int, default=1, help='runs at a time')
    parser.add_argument('--states', action='store_true', help='all states, not the last one alone')
    parser.add_argument('--out', default='work_dirs/compare', help='folder for the results')
    return parser.parse_args()


def read_runs(texts: list[str], seeds: list[int]) -> list[Run]:
    """Spells out all trainings; wrong input ends the command before any of them starts."""
    lines = []
    for text in texts:
        if text.startswith('@'):
            if not Path(text[1:]).is_file():
                sys.exit(f'--runs {text}: there is no such file.')
            found = (line.strip() for line in Path(text[1:]).read_text().splitlines())
            lines += [line for line in found if line and not line.startswith('#')]
        else:
            lines.append(text)
    runs = []
    for line in lines:
        name, equals, command = line.partition('=')
        words = shlex.split(command)
        if not name.strip() or not equals or not words:
            sys.exit(f'--runs {line!r} is not NAME=CONFIG [OPTIONS].')
        if not Path(words[0]).is_file():
            sys.exit(f'--runs {line!r}: there is no config file {words[0]}.')
        runs += [Run(name.strip(), words[0], tuple(words[1:]), seed) for seed in seeds]
    folders = [run.folder for run in runs]
    if twice := sorted({folder for folder in folders if folders.count(folder) > 1}):
        sys.exit(f'--runs: two runs would share the folder {twice[0]}. Give them other names.')
    return runs


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


def call(work_dir: Path, script: str, *arguments: str | Path) -> None:
    """Runs a tool; its output is added to output.log."""
    log = work_dir / 'output.log'
    command = [sys.executable, ROOT / 'tools' / script, *arguments]
    with open(log, 'a') as output:
        code = execute(command, output)
    if code:
        tail = [line for line in log.read_text().splitlines() if line.strip()][-3:]
        raise RunFailed(' '.join(' '.join(tail).replace('|', '/').split())[-300:])


def execute(command: list[str | Path], output: IO[str]) -> int:
    """Runs a command in a process of its own and returns its exit code."""
    environment = {'OMP_NUM_THREADS': '1', **os.environ}
    process = subprocess.Popen(
        command,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd=ROOT,
        start_new_session=True,
    )
    RUNNING.add(process)
    try:
        return process.wait()
    finally:
        RUNNING.discard(process)


def stop_all() -> None:
    """Ends what is at work: a run that went on alone would meet its own continuation."""
    for process in list(RUNNING):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)


def measure(checkpoint: str | Path, roles: str, split: str, work_dir: Path, name: str) -> dict:
    """Metrics of a plain checkpoint by role."""
    with CONFIGS:
        cfg = open_config(roles)
        cfg.test_dataloader.dataset = cfg[f'{split}_dataloader'].dataset
        cfg.test_evaluator = cfg.val_evaluator
        cfg.dump(work_dir / 'roles.py')
    out = work_dir / f'{name}.json'
    folder = work_dir / 'by_role'
    call(work_dir, 'test.py', work_dir / 'roles.py', checkpoint, '--out', out, '--work-dir', folder)
    return read_json(out)


def evaluate_plain(run: Run, args: argparse.Namespace, work_dir: Path) -> Path:
    """Writes the results of a training without roles; returns its last checkpoint."""
    checkpoint = Path((work_dir / 'last_checkpoint').read_text().strip())
    with CONFIGS:
        roles = open_config(args.roles)
    evaluator = roles.val_evaluator
    evaluator = evaluator if isinstance(evaluator, dict) else evaluator[0]
    results = SwapResults(evaluator.get('primary', 'accuracy/top1'), evaluator.get('scale', 100.0))
    if roles.get('load_from') and (ROOT / roles.load_from).is_file():
        before = measure(ROOT / roles.load_from, args.roles, args.split, work_dir, START)
        results.add(START, 0, before)
    after = measure(checkpoint, args.roles, args.split, work_dir, TRAINED)
    results.add(TRAINED, int(re.findall(r'\d+', checkpoint.stem)[-1]), after)
    results.write(work_dir / 'swap_results.json', seed=run.seed)
    return checkpoint


def fingerprint(cfg: Config, run: Run, args: argparse.Namespace) -> str:
    """Tells whether a folder holds this very run."""
    roles = {} if 'swap' in cfg else open_config(args.roles).to_dict()
    text = json.dumps([cfg.to_dict(), run.options, args.split, roles], default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def train(run: Run, args: argparse.Namespace, out: Path) -> dict:
    """Trains in a process of its own, unless it was done; returns the results."""
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
            state_file.write_text(json.dumps(state))
            with CONFIGS:
                cfg.dump(work_dir / 'config.py')
            options = ['--cfg-options', *run.options] if run.options else []
            call(work_dir, 'train.py', work_dir / 'config.py', '--work-dir', work_dir,
                 '--resume', *options)  # fmt: skip
            if 'swap' not in cfg:
                state['checkpoint'] = str(evaluate_plain(run, args, work_dir))
            state['finished'] = True
    except (RunFailed, SwapError) as error:
        return dict(result, error=str(error))
    finally:
        state['seconds'] += time.time() - started
        state_file.write_text(json.dumps(state))
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


def percents(run: dict, state: str) -> list[float | None]:
    """Primary metric of each role, and the H-mean, in percent; None for what was not measured."""
    metrics = run['states'].get(state, {}).get('metrics', {})
    names = [f'{role}/{run["primary"]}' for role in ROLES] + ['swap/h_mean']
    values = [None if name == 'swap/h_mean' and state == START else metrics.get(name)
              for name in names]  # fmt: skip
    return [None if value is None else 100 * value / run['scale'] for value in values]


def spread(values: list[float | None]) -> str:
    """Mean and, with more than one value, standard deviation."""
    if None in values or not values:
        return '-'
    if len(values) == 1:
        return f'{values[0]:.1f}'
    return f'{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}'


def table(results: list[dict], all_states: bool = False) -> str:
    """Mean and standard deviation over the seeds of each run's last state, or of every state."""
    lines = ['| run | state | learn | forget | retain | H-mean | seconds | seeds |']
    lines.append('| --- | --- | --- | --- | --- | --- | --- | --- |')
    for name in dict.fromkeys(result['name'] for result in results):
        runs = [r for r in results if r['name'] == name and 'states' in r]
        states = list(runs[0]['states']) if runs else []
        for state in states if all_states else states[-1:]:
            columns = zip(*(percents(run, state) for run in runs), strict=True)
            cells = [spread(list(column)) for column in columns]
            seconds = f'{statistics.mean(run["seconds"] for run in runs):.0f}'
            lines.append(f'| {name} | {state} | {" | ".join(cells)} | {seconds} | {len(runs)} |')
        for failed in (r for r in results if r['name'] == name and 'error' in r):
            lines.append(
                f'| {name} | failed, seed {failed["seed"]}: {failed["error"]} | | | | | | |'
            )
    return '\n'.join(lines)


def main() -> None:
    args = parse_args()
    try:
        compare(args)
    except SwapError as error:
        sys.exit(f'{type(error).__name__}: {error}')


def compare(args: argparse.Namespace) -> None:
    """Trains what is left to train, and writes and prints the table."""
    check_place('--out', args.out, folder=True)
    if min(args.seeds) < 0:
        raise ConfigError('--seeds', args.seeds, 'a seed is below 0', 'e.g. 0 1 2')
    if args.roles and not Path(args.roles).is_file():
        raise ConfigError('--roles', args.roles, 'there is no config file of that name', 'mend it')
    if args.parallel < 1:
        raise ConfigError('--parallel', args.parallel, 'no number of runs', 'e.g. 2')
    runs = read_runs(args.runs, args.seeds)
    for name, path in {run.name: run.config for run in runs}.items():
        if 'swap' not in open_config(path) and not (args.roles and Path(args.roles).is_file()):
            sys.exit(f'{name}: {path} has no roles. Give a swap config with its data by --roles.')
    out = Path(args.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(args.parallel) as pool:
        futures = [pool.submit(train, run, args, out) for run in runs]
        try:
            for _ in as_completed(futures):  # what is done is written, whatever stops the rest
                results = [future.result() for future in futures if future.done()]
                text = f'Split: {args.split}\n\n{table(results, args.states)}\n'
                (out / 'table.md').write_text(text)
                (out / 'results.json').write_text(json.dumps(results, indent=1) + '\n')
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            stop_all()
            raise
    print(text)
    if any('error' in result for result in results):
        sys.exit('Some runs failed; the end of their output stands in the table.')


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('Stopped; the same command goes on.'))
    main()
