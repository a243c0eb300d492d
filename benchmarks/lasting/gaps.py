"""The row of a swap: its figures, and how far its audit lies from the references."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from knowswap_mm.audit.findings import HEAD
from knowswap_mm.io.text_files import read_json
from knowswap_mm.roles import LEARN
from knowswap_mm.runs.files import RESULTS_FILE
from knowswap_mm.runs.reader import ScalarLog
from knowswap_mm.runs.results import START, SwapResults
from knowswap_mm.schedule.phase import phase_name

#: Attacks whose gaps count together.
PROBES = ('prototype probe', 'linear probe')
#: Attacks that were never used for tuning, and are to agree.
UNTUNED = ('kNN probe', 'visual prompt')
OWN_ROWS, PROTOTYPES = 'relearning', 'relearning from prototype rows'
DISTANCE, MEMBERSHIP = 'answer distance', 'membership inference, '
#: Iterations of the window over which the log averages the time of a step.
WINDOW = 20


def row_of(folder: Path, page: Path) -> dict[str, Any]:
    """Everything that is known of an audited swap but its names."""
    results, audit = SwapResults.read(folder / RESULTS_FILE), read_json(page)
    states = list(results.states)
    learned = next((n for n, s in enumerate(states) if s == phase_name(n - 1, LEARN)), 0)
    begin, end = (results.states[states[n]]['iteration'] for n in (learned, -1))
    return dict(
        start=results.by_role(START),
        learn_end=results.by_role(states[learned]),
        end=results.by_role(states[-1]),
        gaps=gaps_of(audit),
        relearning=steps_ratio(audit, OWN_ROWS),
        prototype_relearning=steps_ratio(audit, PROTOTYPES),
        total_variation=value_of(audit, DISTANCE),
        membership=membership_of(audit),
        references_deviate=round(spread_of_references(audit), 2),
        **costs_of(ScalarLog.of_run(folder), begin, end),
        headline=audit['headline'],
    )


def gaps_of(audit: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """By attack and place, how many points more the swapped model reads than the references.

    The places of one attack follow the model from its input to the head. Attacks whose number is
    no share are left out. Audits of earlier versions have shares below nothing, which are nothing.
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
            known = [max(each['value'], 0.0) for each in (models['after'], *floors)]
            gap = known[0] - statistics.mean(known[1:])
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
                return round(geometric(steps['after']) / geometric(others), 3)
    return None


def value_of(audit: Mapping[str, Any], attack: str) -> float | None:
    """What an attack read of the swapped model."""
    found = [each for each in audit['findings'] if each['attack'] == attack]
    return round(found[0]['after']['value'], 4) if found else None


def membership_of(audit: Mapping[str, Any]) -> dict[str, bool]:
    """By score, whether the interval of the AUC has a value in common with that of the floor."""
    found = {}
    for finding in audit['findings']:
        attack, after, floor = finding['attack'], finding['after'], finding.get('floor')
        if attack.startswith(MEMBERSHIP) and floor is not None:
            apart = after['low'] > floor['high'] or after['high'] < floor['low']
            found[attack.removeprefix(MEMBERSHIP)] = not apart
    return found


def spread_of_references(audit: Mapping[str, Any]) -> float:
    """Standard deviation of what the probes read of the references at the head, in points."""
    found = []
    for finding in audit['findings']:
        if finding['attack'].startswith(PROBES):
            values = [each['value'] for each in _references(finding['details']['by_model'])]
            if len(values) > 1:
                found.append(100 * statistics.stdev(values))
    return statistics.mean(found) if found else 0.0


def costs_of(log: ScalarLog, begin: int, end: int) -> dict[str, float | None]:
    """A step after the learn phase by one of that phase, and the most memory of it in MB.

    Runs that are compared had other runs beside them, others than one another: what they share is
    the learn phase, whose steps are alike. Medians of windows that lie within a phase, so that
    evaluations do not count. None where the log has none: of memory there is a line on a GPU alone.
    """

    def step(first: int, last: int) -> float | None:
        lines = (line for line in log.training if first + WINDOW <= line['step'] <= last)
        times = [line['time'] for line in lines if line.get('time')]
        return statistics.median(times) if times else None

    learning, forgetting = step(0, begin), step(begin, end)
    memory = [line.get('memory') or 0 for line in log.training if begin < line['step'] <= end]
    return dict(
        step=round(forgetting / learning, 3) if learning and forgetting else None,
        memory=max(memory, default=0) or None,
    )


def geometric(steps: Sequence[float]) -> float:
    """The geometric mean; a 0 counts as next to nothing."""
    return math.exp(statistics.mean(math.log(max(step, 1e-9)) for step in steps))


def _references(by_model: Mapping[str, Any]) -> list[Any]:
    return [value for name, value in by_model.items() if name.startswith('reference')]


def _points(share: float) -> float:
    return round(100 * share, 2)
