"""How lasting forgetting is: gaps between swaps and references, by attack and depth, in one table.

    python tools/compare.py --out work/fashion --runs recipe=A.py deep=B.py retrain=C.py
    python benchmarks/audit_table.py work/fashion/results.json --reference retrain
    python benchmarks/forgetting.py fashion-mnist=work/fashion --reference retrain

For each benchmark the folder of `tools/compare.py`, whose runs `benchmarks/audit_table.py` has
audited; docs/audit.md has the commands. It writes a row a run, and prints a line an objective with
the bars that it misses. A gap is what an attack reads of the swapped model, less the mean of the
references, in points; at each place of the model, the last one being the head.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy import stats

from knowswap_mm.io.files import write_json
from knowswap_mm.io.text_files import read_json
from knowswap_mm.roles import FORGET, RETAIN, ROLES
from knowswap_mm.runs.results import START
from knowswap_mm.visualization.tables import markdown_table
from knowswap_mm.workflows.compare import results_of

HEAD = 'head'
#: Attacks whose gaps count together; the others were never used for tuning, and are to agree.
PROBES = ('prototype probe', 'linear probe')
OWN_ROWS, PROTOTYPES = 'relearning', 'relearning from prototype rows'
DISTANCE = 'answer distance'
#: Bars (issue 27): points of the mean gap and of one layer, steps of the swap by those of the
#: references, total variation, forget accuracy in percent.
MEAN, LAYER, STEPS, ANSWERS, LEFT = 5.0, 10.0, (0.75, 1.5), 0.15, 0.5


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('benchmarks', nargs='+', metavar='NAME=FOLDER')
    add('--reference', required=True, help='name of the runs that never saw the forget set')
    add('--out', type=Path, default=Path(__file__).parent / 'results' / 'forgetting.json')
    return parser.parse_args()


def gaps_of(audit: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """By attack and place, how many points more the swapped model reads than the references.

    The places of one attack follow the model from its input to the head. Attacks whose number is
    no share are left out.
    """
    found: dict[str, dict[str, float]] = {}
    for curve in audit.get('curves', ()):
        floors = _references(curve['by_model'])
        if not floors:
            continue
        mine = curve['by_model']['after']
        found[curve['attack']] = {
            place: _points(mine[i]['value'] - statistics.mean(each[i]['value'] for each in floors))
            for i, place in enumerate(curve['places'])
        }
    for finding in audit['findings']:
        models = finding['details'].get('by_model', {})
        if (floors := _references(models)) and finding['statistic'].startswith('share'):
            gap = models['after']['value'] - statistics.mean(each['value'] for each in floors)
            found.setdefault(finding['attack'], {})[HEAD] = _points(gap)
    return found


def steps_ratio(audit: Mapping[str, Any], attack: str) -> float | None:
    """Steps that the swapped model needs, by those of the references, as geometric means.

    None if one of them did not get there: a limit is no number of steps.
    """
    for finding in audit['findings']:
        if finding['attack'] == attack and 'steps' in finding['details']:
            steps = finding['details']['steps']
            others = [count for counts in _references(steps) for count in counts]
            if others and None not in [*others, *steps['after']]:
                return round(_geometric(steps['after']) / _geometric(others), 3)
    return None


def value_of(audit: Mapping[str, Any], attack: str) -> float | None:
    """What an attack read of the swapped model."""
    found = [each for each in audit['findings'] if each['attack'] == attack]
    return round(found[0]['after']['value'], 4) if found else None


def spread_of_references(audits: Iterable[Mapping[str, Any]]) -> float:
    """Standard deviation of what the probes read of the references at the head, in points."""
    found = []
    for audit in audits:
        for finding in audit['findings']:
            if finding['attack'].startswith(PROBES):
                values = [each['value'] for each in _references(finding['details']['by_model'])]
                if len(values) > 1:
                    found.append(100 * statistics.stdev(values))
    return statistics.mean(found) if found else 0.0


def rows_of(name: str, folder: Path, reference: str) -> list[dict[str, Any]]:
    """A row a run, of all runs that were audited but the references."""
    runs = {(run['name'], run['seed']): run for run in read_json(folder / 'results.json')}
    rows = []
    for each in read_json(folder / 'audits.json'):
        audit, key = each['audit'], (each['name'], each['seed'])
        if audit is None or each['name'] == reference:
            continue
        results = results_of(runs[key])
        ends = [results.by_role(state) for state in (START, list(results.states)[-1])]
        rows.append(
            dict(
                benchmark=name, objective=each['name'], seed=each['seed'],
                start=ends[0], end=ends[1], gaps=gaps_of(audit),
                relearning=steps_ratio(audit, OWN_ROWS),
                prototype_relearning=steps_ratio(audit, PROTOTYPES),
                total_variation=value_of(audit, DISTANCE),
                references_deviate=round(spread_of_references([audit]), 2),
                headline=audit['headline'],
            )
        )  # fmt: skip
    return rows


def mean_gap(row: Mapping[str, Any], places: str) -> float | None:
    """Mean gap of the probes at the ``head``, or over all ``layers`` of the model."""
    found = [
        gap
        for attack, gaps in row['gaps'].items()
        if attack.startswith(PROBES)
        for place, gap in gaps.items()
        if (place == HEAD) == (places == HEAD)
    ]
    return statistics.mean(found) if found else None


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of a mean (Student's); without an end for a single value."""
    if len(values) < 2:
        return -math.inf, math.inf
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.mean(values) - half, statistics.mean(values) + half


def misses(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The bars that the seeds of a benchmark and objective do not reach, with the numbers."""
    found = []
    forgot = statistics.mean(row['end'][FORGET] for row in rows)
    if forgot > LEFT:
        found.append(f'forget {forgot:.1f} > {LEFT:g}')
    limit = max(MEAN, 2 * statistics.mean(row['references_deviate'] for row in rows))
    for places in (HEAD, 'layers'):
        gaps = [gap for row in rows if (gap := mean_gap(row, places)) is not None]
        if not gaps:
            found.append(f'{places}: not measured')
            continue
        low, high = interval(gaps)
        if low < -limit or high > limit:
            found.append(f'{places}: {low:+.1f} to {high:+.1f}, not within {limit:.1f}')
    places = [
        (abs(gap), attack, place)
        for row in rows
        for attack, gaps in row['gaps'].items()
        if attack.startswith(PROBES)
        for place, gap in gaps.items()
    ]
    worst = max(places, default=None)
    if worst and worst[0] > LAYER:
        found.append(f'{worst[1]} at {worst[2]}: off by {worst[0]:.1f} > {LAYER:g}')
    for key in ('relearning', 'prototype_relearning'):
        ratios = [row[key] for row in rows]
        if None in ratios:
            found.append(f'{key}: not measured, or a limit of steps was reached')
        elif not STEPS[0] <= _geometric(ratios) <= STEPS[1]:
            found.append(f'{key}: {_geometric(ratios):.2f} times the steps')
    far = [row['total_variation'] for row in rows if row['total_variation'] is not None]
    if far and statistics.mean(far) > ANSWERS:
        found.append(f'total variation {statistics.mean(far):.2f} > {ANSWERS:g}')
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line a benchmark and objective: means over the seeds, gaps, and what is missed."""
    lines = []
    for key in dict.fromkeys((row['benchmark'], row['objective']) for row in rows):
        own = [row for row in rows if (row['benchmark'], row['objective']) == key]
        ends = ' / '.join(f'{statistics.mean(r["end"][role] for r in own):.1f}' for role in ROLES)
        start = statistics.mean(row['start'][RETAIN] for row in own)
        gaps = [_mean([mean_gap(row, places) for row in own]) for places in (HEAD, 'layers')]
        others = [_mean([row[k] for row in own], '.2f') for k in
                  ('relearning', 'prototype_relearning', 'total_variation')]  # fmt: skip
        lines.append([*key, f'{start:.1f}', ends, *gaps, *others, len(own), '; '.join(misses(own))])
    head = [
        'benchmark', 'objective', 'retain before', 'learn / forget / retain', 'gap at the head',
        'gap over layers', 'relearning', 'from prototypes', 'total variation', 'seeds', 'missed',
    ]  # fmt: skip
    return markdown_table(head, lines)


def main() -> None:
    """Writes the rows and prints the table."""
    args = parse_args()
    rows = []
    for text in args.benchmarks:
        name, equals, folder = text.partition('=')
        if not equals or not (Path(folder) / 'audits.json').is_file():
            sys.exit(f'{text}: no NAME=FOLDER with an audits.json of benchmarks/audit_table.py.')
        rows += rows_of(name, Path(folder), args.reference)
    write_json(args.out, dict(rows=rows), indent=1)
    print(table(rows))


def _references(by_model: Mapping[str, Any]) -> list[Any]:
    return [value for name, value in by_model.items() if name.startswith('reference')]


def _points(share: float) -> float:
    return round(100 * share, 2)


def _geometric(steps: Sequence[float]) -> float:
    return math.exp(statistics.mean(math.log(max(step, 1e-9)) for step in steps))


def _mean(values: Sequence[float | None], form: str = '+.1f') -> str:
    known = [value for value in values if value is not None]
    return format(statistics.mean(known), form) if known else '-'


if __name__ == '__main__':
    main()
