"""Audits every run of tools/compare.py and prints one table: what each attack recovers.

    python benchmarks/audit_table.py work_dirs/compare/results.json --reference retrain --parallel 2

A run is audited as its merged export would be. The references are the runs of the name given by
`--reference`, but never the audited one itself. `--states` audits a run after each of its phases
whose checkpoint is still there, not after the last one alone. Finished audits are kept and not
repeated: the same command goes on after an interruption.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

import knowswap_mm  # noqa: F401  (registers the modules)
from knowswap_mm.registry import EVALUATORS
from knowswap_mm.runs.files import AUDIT_FILE

SAME = 'Drift of the retained classes'


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('results', type=Path, help='results.json of tools/compare.py')
    parser.add_argument('--reference', help='name of the runs that never saw the forget set')
    parser.add_argument('--states', action='store_true', help='a row for the end of each phase')
    parser.add_argument('--parallel', type=int, default=1, help='seeds at a time')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='audit.samples=500')
    return parser.parse_args()


def folder_of(run: dict) -> Path:
    """Where the audit of a run is written."""
    return Path(run['work_dir']) / 'audit' / Path(run['checkpoint']).stem


def read_page(run: dict) -> dict | None:
    """The audit of a run; None if there is none."""
    page = folder_of(run) / AUDIT_FILE
    return json.loads(page.read_text()) if page.is_file() else None


def states_of(run: dict) -> list[dict]:
    """A run after each of its phases, as runs of their own; the run itself if it has no phases."""
    last, found = Path(run['checkpoint']), []
    for state in run.get('states', ()):
        path = Path(run['work_dir']) / f'{state}.pth'
        each = dict(run, name=f'{run["name"]}, {state}', checkpoint=str(path))
        # A missing last state must not go unnoticed; an earlier one may have been removed.
        if path == last or path.is_file() or read_page(each):
            found.append(each)
    return found or [run]


def read_as_host(cfg: Config) -> None:
    """Lets a checkpoint of all weights be read as a plain host, as references are.

    The audit finds the blocks that it compares by the adapters of the config's model.
    """
    if str(cfg.model.get('type')).endswith('FullTrainingSwapper'):
        cfg.model.update(type='knowswap_mm.KnowledgeSwapper', lora={}, loss=None)


def audit(chosen: list[dict], runs: list[dict], args: argparse.Namespace) -> None:
    """Audits the states of a seed that were not audited yet; they share what is measured."""
    MMLogger.get_instance('audit', log_level='ERROR')
    auditor = None
    for run in chosen:
        if (folder_of(run) / AUDIT_FILE).is_file():
            continue
        folder = Path(run['work_dir'])
        cfg = Config.fromfile(
            folder / ('roles.py' if (folder / 'roles.py').is_file() else 'config.py')
        )
        if args.cfg_options:
            cfg.merge_from_dict(args.cfg_options)
        read_as_host(cfg)
        init_default_scope(cfg.default_scope)
        if auditor is None:
            skip = ['DroppedAdapter', *cfg.get('audit', {}).get('skip', ())]
            settings = dict(cfg.get('audit', {}), type='knowswap_mm.Auditor', skip=skip)
            auditor = EVALUATORS.build(settings)
        references = [
            other['checkpoint']
            for other in runs
            if other['name'] == args.reference and other['work_dir'] != run['work_dir']
        ]
        started = time.time()
        report = auditor.audit_files(cfg, run['checkpoint'], references, merged=True)
        report.about['seconds'] = round(time.time() - started)
        report.write(folder_of(run))


def end_with_parent() -> None:
    """Lets a worker end when its parent is gone, however that ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all: the parent ends the workers

    def wait() -> None:
        parent_process().join()
        os._exit(1)  # from a thread, and in the midst of an audit

    threading.Thread(target=wait, daemon=True).start()


def audit_all(states: list[dict], runs: list[dict], args: argparse.Namespace) -> list[Exception]:
    """Audits each seed in a process of its own; returns what went wrong."""
    seeds = dict.fromkeys(state['seed'] for state in states)
    groups = [[state for state in states if state['seed'] == seed] for seed in seeds]
    context = get_context('spawn')
    with ProcessPoolExecutor(args.parallel, context, initializer=end_with_parent) as pool:
        try:
            futures = [pool.submit(audit, group, runs, args) for group in groups]
            return [error for future in futures if (error := future.exception())]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in active_children():
                worker.terminate()
            raise


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    if len(values) == 1:
        return f'{values[0]:.3f}'
    return f'{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}'


def mean_steps(counts: list[int | None], limit: int | None) -> str:
    """Mean of the steps to relearn; at least so many if a run did not get there in the limit."""
    mean = statistics.mean(limit if count is None else count for count in counts)
    return f'{">= " if None in counts else ""}{mean:.0f} steps'


def found_by(attack: str, pages: list[dict]) -> list[dict]:
    """What an attack found in each audit that has it: some need references."""
    return [each for page in pages for each in page['findings'] if each['attack'] == attack]


def rows_of(name: str, pages: list[dict | None], attacks: list[str]) -> list[str]:
    """The cells of all runs of one name."""
    pages = [page for page in pages if page is not None]
    if not pages:
        return [name, 'no audit']
    cells = [name]
    for attack in attacks:
        found = found_by(attack, pages)
        if not found:
            cells.append('-')
            continue
        if all('steps' in each['details'] for each in found):
            counts = [count for each in found for count in each['details']['steps']['after']]
            shown = mean_steps(counts, found[0]['details'].get('limit'))
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


def attacks_of(pages: list[dict]) -> list[str]:
    """All attacks of some audits, in their order."""
    return list(dict.fromkeys(each['attack'] for page in pages for each in page['findings']))


def ends(pages: list[dict], attacks: list[str]) -> list[list[str]]:
    """The model before the swap, and the floors of the first run that has them."""
    rows = []
    for name, key in (('before the swap', 'before'), ('floor', 'floor')):
        cells = [name]
        for finding in (found_by(attack, pages)[0] for attack in attacks):
            end = finding[key]
            steps = finding['details'].get('steps')
            if end is None:
                cells.append('-')
            elif steps:
                models = [m for m in steps if (m == 'before') == (key == 'before') and m != 'after']
                counts = [count for model in models for count in steps[model]]
                cells.append(mean_steps(counts, finding['details'].get('limit')))
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
    states = [state for run in runs for state in states_of(run)] if args.states else runs
    problems = audit_all(states, runs, args)
    pages = [read_page(state) for state in states]
    done = [page for page in pages if page is not None]
    if not done:
        sys.exit(f'No audit succeeded: {problems}')
    attacks = attacks_of(done)
    header = ['run', *attacks, 'retained answers']
    rows = ends(done, attacks)
    named = list(zip((state['name'] for state in states), pages, strict=True))
    for name in dict.fromkeys(name for name, _ in named):
        rows.append(rows_of(name, [page for other, page in named if other == name], attacks))
    lines = [header, ['---'] * len(header), *rows]
    text = '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines) + '\n'
    (args.results.parent / 'audit_table.md').write_text(text)
    kept = [
        dict(name=state['name'], seed=state['seed'], audit=page)
        for state, page in zip(states, pages, strict=True)
    ]
    (args.results.parent / 'audits.json').write_text(json.dumps(kept, indent=1) + '\n')
    print(text)
    if problems:
        sys.exit(f'Some audits failed: {problems}')


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('Stopped; the same command goes on.'))
    main()
