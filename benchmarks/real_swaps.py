"""Swaps on real images: hosts, swaps, references, and one table.

    python benchmarks/real_swaps.py --data PATH --work-dir work_dirs/real --processes 6
    python benchmarks/real_swaps.py --work-dir work_dirs/real --swaps grocery --recipes auto readme
    python benchmarks/real_swaps.py --work-dir work_dirs/real --stages report

Run it where `data/` and `weights/` are to lie: configs name them by relative paths. `--data` is a
folder with the publishers' images and weights (docs/real.md); what is missing of them in
`data/real` is converted first. Stages: `host` trains hosts, `swap` runs each swap with each
recipe and seed (`official` with the first seed alone), `references` runs the same without anything
to forget, as long as the swap of that seed, `report` writes the rows and prints the table. Each run
is a process of its own, `--processes` at a time, as soon as what it needs is done. Finished runs
are not repeated: the same command goes on. Several drivers may share a folder, one a GPU say.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from real.data import missing, prepare
from real.hosts import measured, train_host, weights_of
from real.jobs import Job, run_all
from real.plan import AUTO, OFFICIAL, RECIPES, REFERENCES, SWAPS
from real.runs import finished, run_reference, run_swap
from real.table import host_table, rows_of, short_table, table, with_earlier

from knowswap_mm.cli.options import OptionAction
from knowswap_mm.io.files import write_json, write_text
from knowswap_mm.io.text_files import read_json

STAGES = ('host', 'swap', 'references', 'report')


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('--data', type=Path, help='folder with the downloads; needed once')
    add('--work-dir', type=Path, default=Path('work_dirs/real'), help='hosts and runs')
    add('--swaps', nargs='+', metavar='NAME', choices=list(SWAPS), default=list(SWAPS))
    add('--recipes', nargs='+', choices=RECIPES, default=list(RECIPES))
    add('--seeds', nargs='+', type=int, default=[0, 1, 2])
    add('--reference-seeds', nargs='+', type=int, help='all seeds by default')
    add('--stages', nargs='+', choices=STAGES, default=list(STAGES))
    add('--device', help="'cpu', or numbers of GPUs as CUDA_VISIBLE_DEVICES has them")
    add('--processes', type=int, default=1, help='runs at a time')
    add('--keep', action='store_true', help='keep the checkpoints of runs')
    add('--out', type=Path, help='json of the rows; benchmarks/results/real_swaps.json by default')
    for kind in ('host', 'swap'):
        text = f'overrides of the configs of {kind}s, to try the commands'
        add(f'--{kind}-options', nargs='+', action=OptionAction, default={}, help=text)
    return parser.parse_args()


def jobs_of(args: argparse.Namespace) -> list[Job]:
    """What the stages have to do, the longest first; each waits for what it needs of another."""
    names, hosts, swaps, references = list(reversed(args.swaps)), {}, {}, []

    def job(name: str, kind: str, seed: int, run: Callable[[], Any], needs: Job | None) -> Job:
        done = partial(finished, name, kind, seed, args)
        title = f'{name}, {kind.removeprefix(f"{AUTO}_")}, seed {seed}'
        return Job(title, run, lambda: done() is not None, (needs,) if needs else ())

    if 'host' in args.stages:
        for name in dict.fromkeys(SWAPS[each].host for each in names):
            if name:
                found = weights_of(args.work_dir, name).is_file
                hosts[name] = Job(f'host {name}', partial(train_host, name, args), found)
    if 'swap' in args.stages:
        for recipe, seed, name in product(args.recipes, args.seeds, names):
            if recipe != OFFICIAL or seed == args.seeds[0]:
                run = partial(run_swap, name, recipe, seed, args)
                needs = hosts.get(SWAPS[name].host)
                swaps[name, recipe, seed] = job(name, recipe, seed, run, needs)
    if 'references' in args.stages:
        for seed, kind, name in product(args.reference_seeds or args.seeds, REFERENCES, names):
            run = partial(run_reference, name, AUTO, kind, seed, args)
            needs = swaps.get((name, AUTO, seed))
            references.append(job(name, f'{AUTO}_{kind}', seed, run, needs))
    return [*hosts.values(), *swaps.values(), *references]


def report(args: argparse.Namespace) -> None:
    """Writes the rows, beside those of runs that are not in this folder, and prints the tables."""
    out = args.out or Path(__file__).parent / 'results' / 'real_swaps.json'
    earlier = read_json(out) if out.is_file() else dict(rows=[], hosts={})
    rows = with_earlier(rows_of(args), earlier['rows'])
    hosts = [name for name in dict.fromkeys(swap.host for swap in SWAPS.values()) if name]
    found = {name: card for name in hosts if (card := measured(args.work_dir, name))}
    cards = earlier['hosts'] | found
    parts = [host_table(hosts, cards), short_table(rows), table(rows)]
    text = '\n\n'.join(parts)
    write_json(out, dict(rows=rows, hosts=cards), indent=1)
    write_text(out.with_suffix('.md'), f'{text}\n')
    print(text)


def main() -> None:
    """Runs the stages."""
    args = parse_args()
    args.work_dir = args.work_dir.resolve()
    args.work_dir.mkdir(parents=True, exist_ok=True)
    if args.device:
        os.environ['CUDA_VISIBLE_DEVICES'] = '' if args.device == 'cpu' else args.device
    if args.data:
        prepare(args.data, args.work_dir)
    problems = []
    if jobs := jobs_of(args):
        hosts = {SWAPS[name].host for name in args.swaps if not _has_host(name, args)}
        if absent := missing(args.swaps, hosts):
            sys.exit(f'There is no {", ".join(absent)}. Fix: --data PATH, or see docs/real.md.')
        problems = run_all(jobs, args.processes, args.work_dir / 'locks')
    if 'report' in args.stages:
        report(args)
    if problems:
        sys.exit('\n'.join(['Some runs failed:', *problems]))


def _has_host(name: str, args: argparse.Namespace) -> bool:
    host = SWAPS[name].host
    return host is None or weights_of(args.work_dir, host).is_file()


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('Stopped; the same command goes on.'))
    main()
