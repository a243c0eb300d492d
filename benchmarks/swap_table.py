"""Runs swaps over configs and seeds, several at a time, and prints one table of their results.

    python benchmarks/swap_table.py --runs parity=configs/classification/a.py \
        'new rows=configs/classification/a.py model.head.policy=new_rows' --seeds 0 1 2 --out table

A run is NAME=CONFIG, with overrides of the config after it. Settings are chosen on the `val` split;
`--split test` measures every state on the test pictures instead, for the table that is published.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[1]
ROLES = ('learn', 'forget', 'retain')


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--runs', nargs='+', required=True, metavar='NAME=CONFIG [OPTIONS]')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0])
    parser.add_argument('--split', choices=['val', 'test'], default='val')
    parser.add_argument('--parallel', type=int, default=1, help='runs at a time')
    parser.add_argument('--out', default='work_dirs/swap_table', help='folder for the results')
    return parser.parse_args()


def train(name: str, command: str, seed: int, split: str, out: Path) -> dict:
    """Trains one swap in a process of its own and returns its results."""
    path, *options = shlex.split(command)
    work_dir = out / f'{name.replace(" ", "_")}_seed{seed}'
    work_dir.mkdir(parents=True, exist_ok=True)
    cfg = Config.fromfile(path)
    cfg.randomness.seed = seed
    cfg.default_hooks.checkpoint.interval = 100000
    for role in cfg.train_dataloader.dataset.roles.values():
        role.seed = seed
    if split == 'test':
        cfg.val_dataloader.dataset = cfg.test_dataloader.dataset
    cfg.dump(work_dir / 'config.py')
    command = [sys.executable, ROOT / 'tools' / 'train.py', work_dir / 'config.py']
    command += ['--work-dir', work_dir]
    if options:
        command += ['--cfg-options', *options]
    started = time.time()
    with open(work_dir / 'output.log', 'w') as log:
        environment = dict(os.environ, OMP_NUM_THREADS='1')
        code = subprocess.call(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=ROOT
        )
    if code:
        tail = (work_dir / 'output.log').read_text().splitlines()[-3:]
        return dict(name=name, seed=seed, error=' | '.join(tail))
    results = json.loads((work_dir / 'swap_results.json').read_text())
    return dict(
        name=name,
        seed=seed,
        seconds=round(time.time() - started),
        primary=results['primary_metric'],
        scale=results['scale'],
        states=results['states'],
    )


def percents(run: dict, state: str) -> list[float | None]:
    """Primary metric of each role; None for a role that was not measured."""
    metrics = run['states'][state]['metrics']
    values = [metrics.get(f'{role}/{run["primary"]}') for role in ROLES]
    return [None if value is None else 100 * value / run['scale'] for value in values]


def table(results: list[dict]) -> str:
    """Mean over the seeds of every state, and the single seeds behind it."""
    lines = ['| run | state | learn | forget | retain | seeds (learn / forget / retain) |']
    lines.append('| --- | --- | --- | --- | --- | --- |')
    for name in dict.fromkeys(result['name'] for result in results):
        runs = [r for r in results if r['name'] == name and 'states' in r]
        for failed in (r for r in results if r['name'] == name and 'error' in r):
            lines.append(f'| {name} | failed, seed {failed["seed"]}: {failed["error"]} | | | | |')
        for state in runs[0]['states'] if runs else ():
            values = [percents(run, state) for run in runs]
            means = [
                '-' if None in column else f'{statistics.mean(column):.1f}'
                for column in zip(*values, strict=True)
            ]
            single = ', '.join(
                ' / '.join('-' if v is None else f'{v:.1f}' for v in row) for row in values
            )
            lines.append(f'| {name} | {state} | {" | ".join(means)} | {single} |')
    return '\n'.join(lines)


def main() -> None:
    """Runs everything, prints and writes the table."""
    args = parse_args()
    out = Path(args.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    jobs = [(*run.split('=', 1), seed) for run in args.runs for seed in args.seeds]
    with ThreadPoolExecutor(args.parallel) as pool:
        futures = [
            pool.submit(train, name, command, seed, args.split, out) for name, command, seed in jobs
        ]
        for _ in as_completed(futures):  # what is done is written, whatever stops the rest
            results = [future.result() for future in futures if future.done()]
            text = f'Split: {args.split}\n\n{table(results)}\n'
            (out / 'table.md').write_text(text)
            (out / 'results.json').write_text(json.dumps(results, indent=1) + '\n')
    print(text)
    if any('error' in result for result in results):
        sys.exit('Some runs failed.')


if __name__ == '__main__':
    main()
