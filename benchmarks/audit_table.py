"""Audits every run of tools/compare.py and prints one table: what each attack recovers.

    python benchmarks/audit_table.py work_dirs/compare/results.json --reference retrain --parallel 2

A run is audited as its merged export would be. The references are the runs of the name given by
`--reference`, but never the audited one itself. Finished audits are kept and not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SAME = 'Drift of the retained classes'


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('results', type=Path, help='results.json of tools/compare.py')
    parser.add_argument('--reference', help='name of the runs that never saw the forget set')
    parser.add_argument('--parallel', type=int, default=1, help='audits at a time')
    parser.add_argument('--cfg-options', nargs='+', default=[], help='e.g. audit.samples=500')
    return parser.parse_args()


def audit(run: dict, runs: list[dict], args: argparse.Namespace) -> dict | None:
    """Audits a run in a process of its own, unless that was done; None if it failed."""
    folder = Path(run['work_dir'])
    page = folder / 'audit' / 'audit.json'
    if not page.is_file():
        references = [
            other['checkpoint']
            for other in runs
            if other['name'] == args.reference and other['checkpoint'] != run['checkpoint']
        ]
        config = folder / ('roles.py' if (folder / 'roles.py').is_file() else 'config.py')
        command = [sys.executable, ROOT / 'tools' / 'audit.py', config, run['checkpoint']]
        command += ['--out', page.parent]
        command += ['--reference', *references] if references else []
        command += ['--merged', '--cfg-options', 'audit.skip=[DroppedAdapter]', *args.cfg_options]
        with open(folder / 'audit.log', 'w') as log:
            environment = {'OMP_NUM_THREADS': '1', **os.environ}
            subprocess.call(
                command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, env=environment
            )
    return json.loads(page.read_text()) if page.is_file() else None


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    if len(values) == 1:
        return f'{values[0]:.3f}'
    return f'{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}'


def rows_of(name: str, pages: list[dict | None]) -> list[str]:
    """The cells of all runs of one name."""
    pages = [page for page in pages if page is not None]
    if not pages:
        return [name, 'no audit']
    cells = [name]
    for position, finding in enumerate(pages[0]['findings']):
        found = [page['findings'][position] for page in pages]
        if finding['attack'] == 'relearning':
            steps = [statistics.mean(each['details']['steps']['after']) for each in found]
            shown = f'{statistics.mean(steps):.0f} steps'
        else:
            shown = spread([each['after']['value'] for each in found])
        verdicts = sorted({each['verdict'] for each in found})
        cells.append(f'{shown}: {" / ".join(verdicts)}')
    drifts = [
        table['rows'][0][1]['value']
        for page in pages
        for table in page['tables']
        if table['title'] == SAME
    ]
    return [*cells, spread(drifts) if drifts else '-']


def ends(pages: list[dict]) -> list[list[str]]:
    """The model before the swap, and the floors of the first run."""
    rows = []
    for name, key in (('before the swap', 'before'), ('floor', 'floor')):
        cells = [name]
        for finding in pages[0]['findings']:
            end = finding[key]
            steps = finding['details'].get('steps')
            if end is None:
                cells.append('-')
            elif steps:
                models = [m for m in steps if (m == 'before') == (key == 'before') and m != 'after']
                counts = [count for model in models for count in steps[model]]
                cells.append(f'{statistics.mean(counts):.0f} steps')
            else:
                cells.append(f'{end["value"]:.3f}')
        rows.append([*cells, '-'])
    return rows


def main() -> None:
    """Audits everything, prints and writes the table."""
    args = parse_args()
    runs = [run for run in json.loads(args.results.read_text()) if 'checkpoint' in run]
    if args.reference and args.reference not in {run['name'] for run in runs}:
        sys.exit(f'--reference {args.reference}: no such run in {args.results}.')
    with ThreadPoolExecutor(args.parallel) as pool:
        pages = list(pool.map(lambda run: audit(run, runs, args), runs))
    done = [page for page in pages if page is not None]
    if not done:
        sys.exit('No audit succeeded; see audit.log in the folders of the runs.')
    header = ['run', *[finding['attack'] for finding in done[0]['findings']], 'retained answers']
    rows = ends(done)
    for name in dict.fromkeys(run['name'] for run in runs):
        chosen = [page for run, page in zip(runs, pages, strict=True) if run['name'] == name]
        rows.append(rows_of(name, chosen))
    lines = [header, ['---'] * len(header), *rows]
    text = '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines) + '\n'
    (args.results.parent / 'audit_table.md').write_text(text)
    kept = [
        dict(name=run['name'], seed=run['seed'], audit=page)
        for run, page in zip(runs, pages, strict=True)
    ]
    (args.results.parent / 'audits.json').write_text(json.dumps(kept, indent=1) + '\n')
    print(text)


if __name__ == '__main__':
    main()
