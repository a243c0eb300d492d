"""Audits every run of tools/compare.py and prints one table: what each attack recovers.

    python benchmarks/audit_table.py work_dirs/compare/results.json --reference retrain --parallel 2

A run is audited as its merged export would be. The references are the runs of the name given by
`--reference`, but never the audited one itself. Finished audits are kept and not repeated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

import knowswap_mm  # noqa: F401  (registers the modules)
from knowswap_mm.evaluation.audit.audit_report import JSON_FILE
from knowswap_mm.registry import EVALUATORS

SAME = 'Drift of the retained classes'


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('results', type=Path, help='results.json of tools/compare.py')
    parser.add_argument('--reference', help='name of the runs that never saw the forget set')
    parser.add_argument('--parallel', type=int, default=1, help='seeds at a time')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='audit.samples=500')
    return parser.parse_args()


def folder_of(run: dict) -> Path:
    """Where the audit of a run is written."""
    return Path(run['work_dir']) / 'audit' / Path(run['checkpoint']).stem


def read_page(run: dict) -> dict | None:
    """The audit of a run; None if there is none."""
    page = folder_of(run) / JSON_FILE
    return json.loads(page.read_text()) if page.is_file() else None


def audit(chosen: list[dict], runs: list[dict], args: argparse.Namespace) -> None:
    """Audits the runs of a seed that were not audited yet; they share what is measured."""
    MMLogger.get_instance('audit', log_level='ERROR')
    auditor = None
    for run in chosen:
        if (folder_of(run) / JSON_FILE).is_file():
            continue
        folder = Path(run['work_dir'])
        cfg = Config.fromfile(
            folder / ('roles.py' if (folder / 'roles.py').is_file() else 'config.py')
        )
        if args.cfg_options:
            cfg.merge_from_dict(args.cfg_options)
        init_default_scope(cfg.default_scope)
        if auditor is None:
            skip = ['DroppedAdapter', *cfg.get('audit', {}).get('skip', ())]
            settings = dict(cfg.get('audit', {}), type='knowswap_mm.Auditor', skip=skip)
            auditor = EVALUATORS.build(settings)
        references = [
            other['checkpoint']
            for other in runs
            if other['name'] == args.reference and other['checkpoint'] != run['checkpoint']
        ]
        started = time.time()
        report = auditor.audit_files(cfg, run['checkpoint'], references, merged=True)
        report.about['seconds'] = round(time.time() - started)
        report.write(folder_of(run))


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
    groups = [[r for r in runs if r['seed'] == seed] for seed in {r['seed'] for r in runs}]
    with ProcessPoolExecutor(args.parallel, get_context('spawn')) as pool:
        futures = [pool.submit(audit, group, runs, args) for group in groups]
        problems = [error for future in futures if (error := future.exception())]
    pages = [read_page(run) for run in runs]
    done = [page for page in pages if page is not None]
    if not done:
        sys.exit(f'No audit succeeded: {problems}')
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
    if problems:
        sys.exit(f'Some audits failed: {problems}')


if __name__ == '__main__':
    main()
