"""What each phase of a swap did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from knowswap_mm.errors import FileError
from knowswap_mm.io.files import write_text
from knowswap_mm.io.text_files import read_json
from knowswap_mm.roles import FORGET, RETAIN, ROLES
from knowswap_mm.visualization.tables import markdown_table

START = 'start'


def forgetting_h_mean(forget_before: float, forget: float, retain: float) -> float:
    """Harmonic mean of what was forgotten and what was retained, in the unit of the metrics.

    The formula of the official classifier evaluation, ``2 d r / (d + r)`` with the drop
    ``d = forget_before - forget``; a forget metric that rose counts as no drop. The others are
    those of now; ``forget_before`` is that before the swap.
    """
    drop = max(forget_before - forget, 0.0)
    return 2 * drop * retain / (drop + retain) if drop + retain > 0 else 0.0


class SwapResults:
    """Metrics at the start and after each phase; becomes the table and the json of a run.

    Args:
        primary (str): Name of the metric that the table shows, e.g. ``accuracy/top1``.
        scale (float): Best possible value of it; tables show percent of that.
    """

    def __init__(self, primary: str = 'accuracy/top1', scale: float = 100.0) -> None:
        self.primary, self.scale = primary, scale
        self.states: dict[str, dict[str, Any]] = {}

    def add(self, state: str, iteration: int, metrics: dict[str, Any]) -> None:
        """Record the metrics, with role prefixes, of ``start`` or of a phase, after its iterations.

        A repeated state replaces the old.
        """
        metrics = dict(metrics)
        before = self.states.get(START, {}).get('metrics', {})
        forget, retain = f'{FORGET}/{self.primary}', f'{RETAIN}/{self.primary}'
        if forget in before and forget in metrics and retain in metrics:
            measured = before[forget], metrics[forget], metrics[retain]
            metrics['swap/h_mean'] = forgetting_h_mean(*measured)
            metrics['swap/forget_before'] = before[forget]
        self.states[state] = dict(iteration=iteration, metrics=metrics)

    def value(self, state: str, role: str) -> float | None:
        """Primary metric of a role in a state in percent, None if it was not measured."""
        return self._percent(state, f'{role}/{self.primary}')

    def percents(self, state: str) -> list[float | None]:
        """Primary metric of each role, and the H-mean (none at the start), in percent."""
        mean = None if state == START else self._percent(state, 'swap/h_mean')
        return [*(self.value(state, role) for role in ROLES), mean]

    def _percent(self, state: str, name: str) -> float | None:
        value = self.states.get(state, {}).get('metrics', {}).get(name)
        return None if value is None else 100 * value / self.scale

    def table(self) -> str:
        """The states as a Markdown table."""
        rows = []
        for name, state in self.states.items():
            cells = [None if value is None else f'{value:.1f}' for value in self.percents(name)]
            rows.append([name, state['iteration'], *cells])
        return markdown_table(['state', 'iteration', *ROLES, 'H-mean'], rows, aligned=True)

    def write(self, path: Path, **extra: Any) -> None:
        """Write the results, and further fields, as json, in one step."""
        data = dict(primary_metric=self.primary, scale=self.scale, states=self.states, **extra)
        write_text(path, json.dumps(data, indent=2, default=float) + '\n')

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return dict(primary=self.primary, scale=self.scale, states=self.states)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.primary, self.states, self.scale = state['primary'], state['states'], state['scale']

    @classmethod
    def read(cls, path: Path) -> SwapResults:
        """Read what :meth:`write` wrote.

        Raises:
            FileError: If the file is missing, damaged, or something else.
        """
        data = read_json(path)
        if not isinstance(data, dict) or not _is_results(data):
            raise FileError(path, 'holds no results of a run', 'run it again in another folder')
        results = cls(data['primary_metric'], data['scale'])
        results.states = data['states']
        return results


def _is_results(data: dict[str, Any]) -> bool:
    scale, states = data.get('scale'), data.get('states')
    return (
        isinstance(data.get('primary_metric'), str)
        and type(scale) in (int, float)
        and 0 < scale < 1e300
        and isinstance(states, dict)
        and all(isinstance(state, dict) and 'iteration' in state for state in states.values())
        and all(_is_measured(state.get('metrics'), data) for state in states.values())
    )


def _is_measured(metrics: Any, data: dict[str, Any]) -> bool:
    """Whether the metrics of a state are numbers, as far as a table reads them."""
    names = [f'{role}/{data["primary_metric"]}' for role in ROLES] + ['swap/h_mean']
    return isinstance(metrics, dict) and all(
        type(metrics[name]) in (int, float) and abs(metrics[name]) < 1e300
        for name in names
        if metrics.get(name) == metrics.get(name) and metrics.get(name) is not None
    )
