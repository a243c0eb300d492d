"""The results of a run, state by state."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from knowswap_mm.evaluation.scores import forgetting_h_mean
from knowswap_mm.roles import FORGET, RETAIN, ROLES

START = 'start'


class SwapResults:
    """Metrics at the start and after each phase; becomes the table and the json of a run.

    Args:
        primary (str): Name of the metric that the table shows, e.g. ``accuracy/top1``.
    """

    def __init__(self, primary: str = 'accuracy/top1') -> None:
        self.primary = primary
        self.states: dict[str, dict[str, Any]] = {}

    def add(self, state: str, iteration: int, metrics: dict[str, Any]) -> None:
        """Record the metrics of a state; a repeated one replaces the old.

        Args:
            state (str): ``start`` or the name of a phase.
            iteration (int): Iterations done.
            metrics (dict): Metrics with role prefixes.
        """
        metrics = {k: v for k, v in metrics.items()}
        before = self.states.get(START, {}).get('metrics', {})
        forget, retain = f'{FORGET}/{self.primary}', f'{RETAIN}/{self.primary}'
        if forget in before and forget in metrics and retain in metrics:
            metrics['swap/h_mean'] = forgetting_h_mean(
                before[forget], metrics[forget], metrics[retain]
            )
            metrics['swap/forget_before'] = before[forget]
        self.states[state] = dict(iteration=iteration, metrics=metrics)

    def value(self, state: str, role: str) -> float | None:
        """Primary metric of a role in a state, None if it was not measured."""
        return self.states.get(state, {}).get('metrics', {}).get(f'{role}/{self.primary}')

    def table(self) -> str:
        """The states as a Markdown table."""
        header = ['state', 'iteration', *ROLES, 'H-mean']
        rows = []
        for name, state in self.states.items():
            metrics = state['metrics']
            values = [metrics.get(f'{role}/{self.primary}') for role in ROLES]
            cells = ['-' if v is None else f'{v:.1f}' for v in values]
            h_mean = metrics.get('swap/h_mean')
            cells.append('-' if h_mean is None or name == START else f'{h_mean:.1f}')
            rows.append([name, str(state['iteration']), *cells])
        widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
        rule = ['-' * width for width in widths]
        lines = [
            '| ' + ' | '.join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + ' |'
            for row in [header, rule, *rows]
        ]
        return '\n'.join(lines)

    def write(self, path: Path, **extra: Any) -> None:
        """Write the results as json, in one step.

        Args:
            path (Path): The file.
            **extra: Further fields, e.g. the schedule and the class roles.
        """
        data = dict(primary_metric=self.primary, states=self.states, **extra)
        temporary = path.with_suffix('.tmp')
        temporary.write_text(json.dumps(data, indent=2, default=float) + '\n', encoding='utf-8')
        os.replace(temporary, path)

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return dict(primary=self.primary, states=self.states)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.primary, self.states = state['primary'], state['states']
