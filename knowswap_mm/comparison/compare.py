"""The work of ``knowswap compare``."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from knowswap_mm.comparison.processes import stop_all
from knowswap_mm.comparison.read_runs import read_runs
from knowswap_mm.comparison.results_table import table
from knowswap_mm.comparison.training import train
from knowswap_mm.engine.atomic_file import write_json, write_text
from knowswap_mm.engine.tool_config import check_place, open_config
from knowswap_mm.errors import ConfigError


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
                write_text(out / 'table.md', text)
                write_json(out / 'results.json', results, indent=1)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            stop_all()
            raise
    print(text)
    if any('error' in result for result in results):
        sys.exit('Some runs failed; the end of their output stands in the table.')
