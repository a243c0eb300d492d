"""The work of ``knowswap compare``."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shlex
import statistics
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from knowswap_mm.engine.config import check_place, open_config
from knowswap_mm.errors import ConfigError, FileError, SwapError
from knowswap_mm.io.files import write_json, write_text
from knowswap_mm.io.text_files import read_json, read_lines
from knowswap_mm.roles import ROLES
from knowswap_mm.runs.files import LATEST_FILE, RESULTS_FILE, phase_file
from knowswap_mm.runs.lock import kept_nothing
from knowswap_mm.runs.results import START, SwapResults
from knowswap_mm.visualization.tables import markdown_table
from knowswap_mm.workflows.processes import RunFailed, call, stop_all


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


def read_runs(texts: list[str], seeds: list[int]) -> list[Run]:
    """Spell out all trainings; wrong input ends the command before any of them starts."""
    lines = []
    for text in texts:
        if text.startswith('@'):
            if not Path(text[1:]).is_file():
                sys.exit(f'--runs {text}: there is no such file.')
            try:
                lines += [line for line in read_lines(text[1:]) if not line.startswith('#')]
            except FileError as error:
                sys.exit(f'--runs {text}: {error}')
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


def results_of(run: dict) -> SwapResults:
    """What a run measured."""
    results = SwapResults(run['primary'], run['scale'])
    results.states = run['states']
    return results


def spread(values: list[float | None]) -> str:
    """Mean and, with more than one value, standard deviation."""
    if None in values or not values:
        return '-'
    if len(values) == 1:
        return f'{values[0]:.1f}'
    return f'{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}'


def table(results: list[dict], all_states: bool = False) -> str:
    """Mean and standard deviation over the seeds of each run's last state, or of every state.

    A line beneath names the runs whose H-mean has fewer than three roles.
    """
    rows, fewer = [], {}
    for name in dict.fromkeys(result['name'] for result in results):
        runs = [r for r in results if r['name'] == name and 'states' in r]
        states = list(runs[0]['states']) if runs else []
        if runs and (asked := results_of(runs[0]).asked) != ROLES:
            fewer[name] = asked
        for state in states if all_states else states[-1:]:
            columns = zip(*(results_of(run).percents(state) for run in runs), strict=True)
            cells = [spread(list(column)) for column in columns]
            seconds = f'{statistics.mean(run["seconds"] for run in runs):.0f}'
            rows.append([name, state, *cells, seconds, len(runs)])
        for failed in (r for r in results if r['name'] == name and 'error' in r):
            rows.append([name, f'failed, seed {failed["seed"]}: {failed["error"]}', *[''] * 6])
    text = markdown_table(['run', 'state', *ROLES, 'H-mean', 'seconds', 'seeds'], rows)
    if fewer:
        each = '; '.join(f'{" and ".join(asked)} in {name}' for name, asked in fewer.items())
        text += f'\n\nH-mean of the roles that a run is about: all three, but {each}.'
    return text


TRAINED = 'trained'
#: Configs are read and written by one thread at a time.
CONFIGS = threading.Lock()


def prepared(run: Run, split: str) -> Config:
    """The config of a run with its seed and the images of the split."""
    cfg = open_config(run.config)
    cfg.randomness = dict(cfg.get('randomness', {}), seed=run.seed)
    if 'swap' not in cfg:
        cfg.runner_type = cfg.get('runner_type', 'Runner')
        return cfg
    cfg.default_hooks.checkpoint.interval = 100000  # each phase ends with a checkpoint
    for role in cfg.train_dataloader.dataset.roles.values():
        role.setdefault('seed', run.seed)
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
    checkpoint = Path((work_dir / LATEST_FILE).read_text().strip())
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
    results.write(work_dir / RESULTS_FILE, seed=run.seed)
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
        if stored['fingerprint'] == state['fingerprint']:
            state = stored
        elif not kept_nothing(work_dir):
            error = (
                f'{work_dir} holds a run with other settings, those of config.py there (by '
                f'{state_file.name}). Fix: use another --out, or remove that folder'
            )
            return dict(result, error=error)
        else:
            print(f'{work_dir}: the run with other settings there ended before it kept anything.')
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
    results = SwapResults.read(work_dir / RESULTS_FILE)
    last = work_dir / phase_file(list(results.states)[-1])
    return dict(
        result,
        seconds=round(state['seconds']),
        checkpoint=state.get('checkpoint', str(last)),
        primary=results.primary,
        scale=results.scale,
        states=results.states,
    )


def compare(args: argparse.Namespace) -> None:
    """Trains what is left to train, and writes and prints the table."""
    check_place('--out', args.out, folder=True)
    if min(args.seeds) < 0:
        raise ConfigError('--seeds', args.seeds, 'a seed is below 0', 'e.g. 0 1 2')
    if args.roles and not Path(args.roles).is_file():
        raise ConfigError('--roles', args.roles, 'there is no config file of that name', 'fix it')
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
                write_text(out / 'table.md', text)
                write_json(out / 'results.json', results, indent=1)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            stop_all()
            raise
    print(text)
    if any('error' in result for result in results):
        sys.exit('Some runs failed; the end of their output stands in the table.')
