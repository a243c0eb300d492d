"""The table of a comparison."""

from __future__ import annotations

import statistics

from knowswap_mm.engine.swap_results import START
from knowswap_mm.roles import ROLES


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
