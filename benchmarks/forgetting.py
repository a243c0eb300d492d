"""How lasting forgetting is: references, swaps, audits, and one table of the gaps between them.

    python benchmarks/forgetting.py --work-dir work_dirs/lasting --processes 6 --device 0
    python benchmarks/forgetting.py --work-dir work_dirs/lasting --stages references
    python benchmarks/forgetting.py --work-dir work_dirs/lasting --stages report

Run it where `data/` and `weights/` are to lie: configs name them by relative paths (docs/real.md).
Stages: `references` trains models that never saw the forget set, `swap` runs each swap with each
objective and seed, `audit` attacks the swaps of an objective against all references of their
benchmark, in one process, since they trained on the same images, `report` writes a row a swap and
prints the table with the bars that it misses; rows of benchmarks and objectives that were not asked
for stay in the file. Each stage does what it needs and is not there yet: a host, for grocery the
swap whose length the references have.

Each run and each audit is a process of its own with one CPU thread, `--processes` at a time.
Several drivers may work in one folder at once, one a GPU say: each leaves to the others what they
are at. Finished runs and audits are kept as they are, whatever the options: the same command goes
on after an interruption.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from lasting.bars import reference_table, table
from lasting.gaps import row_of
from lasting.plan import BENCHMARKS, OBJECTIVES, reference_config
from lasting.runs import Runs
from real.data import missing, wanted
from real.hosts import weights_of
from real.jobs import Job, run_all
from real.plan import SWAPS

from knowswap_mm.cli.options import OptionAction
from knowswap_mm.io.files import write_json, write_text
from knowswap_mm.io.text_files import read_json

STAGES = ('references', 'swap', 'audit', 'report')
RECIPES = ['recipe', 'deep']


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('--work-dir', type=Path, default=Path('work_dirs/lasting'), help='hosts and runs')
    add('--benchmarks', nargs='+', choices=list(BENCHMARKS), default=list(BENCHMARKS))
    add('--objectives', nargs='+', choices=list(OBJECTIVES), default=RECIPES)
    add('--seeds', nargs='+', type=int, default=[0, 1, 2])
    add('--reference-seeds', nargs='+', type=int, help='of all references; all seeds by default')
    add('--stages', nargs='+', choices=STAGES, default=list(STAGES))
    add('--device', help="'cpu', or the number of a GPU as CUDA_VISIBLE_DEVICES has it")
    add('--processes', type=int, default=1, help='runs and audits at a time')
    add('--out', type=Path, help='json of the rows; benchmarks/results/forgetting.json by default')
    for kind, text in (
        ('host', 'overrides of the configs of hosts'),
        ('reference', 'overrides of the configs of references that are trained from scratch'),
        ('swap', 'overrides of the configs of swaps, and of references that are trained like them'),
        ('audit', 'overrides for audits, e.g. audit.samples=500'),
    ):
        add(f'--{kind}-options', nargs='+', action=OptionAction, default={}, help=text)
    return parser.parse_args()


def pairs(args: argparse.Namespace) -> list[tuple[str, str]]:
    """The benchmarks and objectives that fit each other."""
    return [
        (benchmark, objective)
        for objective in args.objectives
        for benchmark in args.benchmarks
        if benchmark in OBJECTIVES[objective].benchmarks
    ]


def jobs_of(runs: Runs, args: argparse.Namespace) -> list[Job]:
    """What all stages have to do, the longest first."""
    jobs = []
    if 'references' in args.stages:
        jobs += [runs.reference(name, seed) for name in args.benchmarks
                 for seed in args.reference_seeds]  # fmt: skip
    if 'swap' in args.stages:
        jobs += [runs.swap(*pair, seed) for pair in pairs(args) for seed in args.seeds]
    if 'audit' in args.stages:
        jobs += [runs.audit(*pair) for pair in pairs(args)]
    return jobs


def report(runs: Runs, args: argparse.Namespace) -> None:
    """Writes rows and references, and prints the tables; those not asked for stay in the file."""
    rows = [
        dict(benchmark=benchmark, objective=objective, seed=seed, **row_of(page.parents[2], page))
        for benchmark, objective in pairs(args)
        for seed in args.seeds
        if (page := runs.audited(benchmark, objective, seed))
    ]
    cards = [
        dict(benchmark=name, seed=seed, **card)
        for name in args.benchmarks
        for seed in args.reference_seeds
        if (card := runs.card(name, seed))
    ]
    out = args.out or Path(__file__).parent / 'results' / 'forgetting.json'
    asked, earlier = set(pairs(args)), read_json(out) if out.is_file() else {}
    rows += [
        row for row in earlier.get('rows', ()) if (row['benchmark'], row['objective']) not in asked
    ]
    cards += [
        card for card in earlier.get('references', ()) if card['benchmark'] not in args.benchmarks
    ]
    known, kinds = list(BENCHMARKS), list(OBJECTIVES)
    rows.sort(key=lambda row: (known.index(row['benchmark']), kinds.index(row['objective'])))
    cards.sort(key=lambda card: known.index(card['benchmark']))
    text = f'{reference_table(cards)}\n\n{table(rows)}'
    write_json(out, dict(rows=rows, references=cards), indent=1)
    write_text(out.with_suffix('.md'), f'{text}\n')
    print(text)


def absent(args: argparse.Namespace) -> list[str]:
    """Data and weights that configs read and that are not there."""
    hosts = {SWAPS[name].host for name in args.benchmarks} - {None}
    trained = {name for name in hosts if not weights_of(args.work_dir, name).is_file()}
    read = set(missing(args.benchmarks, trained))
    for name in args.benchmarks if 'references' in args.stages else ():
        if BENCHMARKS[name].reference:
            read |= wanted(reference_config(name, args.reference_options))
    return sorted(name for name in read if not Path(name).exists())


def main() -> None:
    """Runs the stages."""
    args = parse_args()
    args.work_dir = args.work_dir.resolve()
    args.work_dir.mkdir(parents=True, exist_ok=True)
    args.reference_seeds = args.reference_seeds or args.seeds
    args.benchmarks = [name for name in BENCHMARKS if name in args.benchmarks]
    if args.device:
        os.environ['CUDA_VISIBLE_DEVICES'] = '' if args.device == 'cpu' else args.device
    runs, problems = Runs(args), []
    if jobs := jobs_of(runs, args):
        if lacking := absent(args):
            sys.exit(f'There is no {", ".join(lacking)}. Fix: see docs/real.md and docs/audit.md.')
        problems = run_all(jobs, args.processes, args.work_dir / 'locks')
    if 'report' in args.stages:
        report(runs, args)
    if problems:
        sys.exit('\n'.join(['Some runs failed:', *problems]))


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('Stopped; the same command goes on.'))
    main()
