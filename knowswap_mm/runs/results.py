"""What each phase of a swap did."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from knowswap_mm.errors import FileError
from knowswap_mm.io.files import write_text
from knowswap_mm.io.text_files import read_json
from knowswap_mm.roles import APART, FORGET, RETAIN, ROLES
from knowswap_mm.schedule.phase import PHASE_KINDS
from knowswap_mm.visualization.tables import markdown_table

START = 'start'
#: Scores in the metrics of a state, in the unit of the metric: the H-mean of tables, of all roles
#: that the run was about, and that of the official evaluation, which leaves learning out. The last
#: one is the name of the latter before issue 26, still written for the scripts that read it.
H_MEAN, TWO_ROLES, OLD_TWO_ROLES = 'swap/role_h_mean', 'swap/forget_retain_h_mean', 'swap/h_mean'


def h_mean(parts: Iterable[float]) -> float:
    """Harmonic mean of numbers from 0 on; 0 if one of them is 0, or there is none."""
    parts = list(parts)
    return len(parts) / sum(1 / part for part in parts) if parts and min(parts) > 0 else 0.0


def forgetting_h_mean(forget_before: float, forget: float, retain: float) -> float:
    """Harmonic mean of what was forgotten and what was retained, in the unit of the metrics.

    The formula of the official classifier evaluation, ``2 d r / (d + r)`` with the drop
    ``d = forget_before - forget``; a forget metric that rose counts as no drop. The others are
    those of now; ``forget_before`` is that before the swap.
    """
    return h_mean([max(forget_before - forget, 0.0), max(retain, 0.0)])


class SwapResults:
    """Metrics at the start and after each phase; becomes the table and the json of a run.

    Args:
        primary (str): Name of the metric that the table shows, e.g. ``accuracy/top1``.
        scale (float): Best possible value of it; tables show percent of that.

    Attributes:
        states (dict): ``iteration`` and ``metrics`` by the name of the state, and
            ``answers``, see :mod:`~knowswap_mm.runs.classes`.
        kinds (Sequence[str]): Kinds of the run's phases, where they are known: its H-mean counts
            their roles. Otherwise the names of the states tell.
    """

    def __init__(self, primary: str = 'accuracy/top1', scale: float = 100.0) -> None:
        self.primary, self.scale = primary, scale
        self.states: dict[str, dict[str, Any]] = {}
        self.kinds: Sequence[str] = ()

    def add(
        self,
        state: str,
        iteration: int,
        metrics: dict[str, Any],
        answers: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        """Record the metrics, with role prefixes, of ``start`` or of a phase, after its iterations.

        ``answers`` are what a class was called, by role. A repeated state replaces the old.
        """
        metrics = dict(metrics)
        before = self.states.get(START, {}).get('metrics', {})
        forget, retain = f'{FORGET}/{self.primary}', f'{RETAIN}/{self.primary}'
        if forget in before and forget in metrics and retain in metrics:
            measured = before[forget], metrics[forget], metrics[retain]
            metrics[TWO_ROLES] = metrics[OLD_TWO_ROLES] = forgetting_h_mean(*measured)
            metrics['swap/forget_before'] = before[forget]
        self.states[state] = dict(iteration=iteration, metrics=metrics)
        if answers:
            self.states[state]['answers'] = copy.deepcopy(answers)
        if (mean := self.h_mean(state)) is not None:
            metrics[H_MEAN] = mean * self.scale / 100

    def value(self, state: str, role: str) -> float | None:
        """Primary metric of a role in a state in percent, None if it was not measured."""
        return self._percent(state, f'{role}/{self.primary}')

    @property
    def asked(self) -> tuple[str, ...]:
        """The roles that the run is about, and that its H-mean therefore counts.

        Those of its phases; retain only if it was measured. All of them if nothing tells.
        """
        names = (re.fullmatch(r'phase\d+_(\w+)', state) for state in self.states)
        kinds = set(self.kinds) or {name[1] for name in names if name}
        about = {role for kind in kinds for role in PHASE_KINDS.get(kind, ())} or set(ROLES)
        if all(self.value(state, RETAIN) is None for state in self.states):
            about.discard(RETAIN)
        return tuple(role for role in ROLES if role in about)

    @property
    def h_mean_title(self) -> str:
        """What a table calls the H-mean: with its roles where it has not all three."""
        return 'H-mean' if self.asked == ROLES else f'H-mean ({", ".join(self.asked)})'

    def h_mean(self, state: str) -> float | None:
        """Harmonic mean of what was learned, forgotten and retained, in percent.

        Learn and retain count as they are, forgetting as the drop of the forget metric since the
        start (a rise as none). None at the start, or if one of :attr:`asked` was not measured.
        """
        parts = []
        for role in self.asked:
            value, before = self.value(state, role), self.value(START, role)
            if role == FORGET:
                value = None if None in (value, before) else before - value
            if value is None or value != value:
                return None
            parts.append(max(value, 0.0))
        return None if state == START else h_mean(parts)

    def apart(self, state: str, role: str) -> float | None:
        """The same where no forgotten class is; None if it is the same, or was not measured."""
        return self._percent(state, f'{role}/{self.primary}{APART}')

    def by_role(self, state: str) -> dict[str, float | None]:
        """Primary metric of each role in percent, to two digits."""
        values = {role: self.value(state, role) for role in ROLES}
        return {role: None if value is None else round(value, 2) for role, value in values.items()}

    def percents(self, state: str) -> list[float | None]:
        """Primary metric of each role, and the H-mean (none at the start), in percent."""
        return [*(self.value(state, role) for role in ROLES), self.h_mean(state)]

    def _percent(self, state: str, name: str) -> float | None:
        value = self.states.get(state, {}).get('metrics', {}).get(name)
        return None if value is None else 100 * value / self.scale

    def table(self) -> str:
        """The states as a Markdown table."""
        rows = []
        for name, state in self.states.items():
            cells = [None if value is None else f'{value:.1f}' for value in self.percents(name)]
            rows.append([name, state['iteration'], *cells])
        return markdown_table(['state', 'iteration', *ROLES, self.h_mean_title], rows, aligned=True)

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
        results.states, results.kinds = data['states'], _kinds(data.get('schedule'))
        return results


def _kinds(schedule: Any) -> list[str]:
    """Kinds of the phases that the config asked for, as far as a file tells them."""
    schedule = schedule if isinstance(schedule, dict) else {}
    phases = schedule.get('planned') or schedule.get('phases')  # a decision may drop phases
    phases = phases if isinstance(phases, list) else []
    found = [phase.get('kind') for phase in phases if isinstance(phase, dict)]
    return [kind for kind in found if isinstance(kind, str) and kind in PHASE_KINDS]


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
    names = [f'{role}/{data["primary_metric"]}' for role in ROLES]
    return isinstance(metrics, dict) and all(
        type(metrics[name]) in (int, float) and abs(metrics[name]) < 1e300
        for name in names
        if metrics.get(name) == metrics.get(name) and metrics.get(name) is not None
    )
