"""The metrics of the roles over the run."""

from __future__ import annotations

from collections.abc import Sequence

from knowswap_mm.registry import REPORT_SECTIONS
from knowswap_mm.roles import FORGET, LEARN, RETAIN, ROLES
from knowswap_mm.runs.classes import class_values
from knowswap_mm.runs.reader import RunFolder
from knowswap_mm.runs.results import START
from knowswap_mm.runs.weak_classes import WEAK, WeakSpot
from knowswap_mm.visualization.plots import Curve, plot_curves
from knowswap_mm.visualization.report.blocks import (
    Block,
    Details,
    Figure,
    Paragraph,
    Section,
    Table,
)

_HINT = (
    'Values of single classes were not measured. They are there if val_evaluator gives them: '
    'knowswap_mm.PerClassAccuracy for a classifier, classwise=True for a detector or a segmentor.'
)
#: Weak classes that the table names.
_SHOWN = 20
_PARTS = {LEARN: 'learn', FORGET: 'what forget has lost since the start', RETAIN: 'retain'}


def _joined(roles: Sequence[str]) -> str:
    *others, last = (_PARTS[role] for role in roles)
    return f'{", ".join(others)} and {last}' if others else last


@REPORT_SECTIONS.register_module()
class Phases(Section):
    """Roles over the iterations, the state after each phase, and every class on demand."""

    name, title, order = 'phases', 'Learn, forget, retain', 20

    def blocks(self, record: RunFolder) -> Sequence[Block]:
        """Plot, table, tables by class."""
        results = record.results
        curves = {role: self._curve(record, role) for role in ROLES}
        curves = {role: points for role, points in curves.items() if points}
        shown = '; '.join(
            f'{role} {points[0][1]:.1f} to {points[-1][1]:.1f}' for role, points in curves.items()
        )
        plot = plot_curves(
            [Curve.of_role(role, points, marked=True) for role, points in curves.items()],
            record.phases,
            f'{results.primary}, %',
            limits=(0, 100),
        )
        alt = f'{results.primary} of the roles over the iterations, in percent: {shown}.'
        rows = [
            [state, entry['iteration'], *results.percents(state)]
            for state, entry in results.states.items()
        ]
        table = Table(
            f'{results.primary} by role in percent; {results.h_mean_title} is the harmonic mean of '
            f'{_joined(results.asked)}',
            ['state', 'iteration', *ROLES, results.h_mean_title],
            rows,
        )
        figure = Figure('roles', plot, alt, values=curves)
        return [figure, table, *self._weak_spots(record), self._by_class(record)]

    @staticmethod
    def _weak_spots(record: RunFolder) -> list[Block]:
        """Classes that are known far worse than the others of their role, by name."""
        state = next(reversed(record.results.states), START)
        spots = WeakSpot.of_run(record, state) if state != START else []
        rows = []
        for spot in spots[:_SHOWN]:
            instead = f'{spot.instead[0]} ({spot.instead[1]:.0%})' if spot.instead else None
            rows.append([spot.name, spot.role, spot.before, spot.after, spot.others, instead])
        caption = (
            f'Weak spots: learned and retained classes that have less than {WEAK:.0%} of the mean '
            f'of the others of their role after {state}, in percent'
        )
        if more := len(spots) - len(rows):
            caption += f'; {more} more are among all classes below'
        header = ['class', 'role', 'before', 'after', 'the others', 'called instead']
        return [Table(caption, header, rows)] if rows else []

    @staticmethod
    def _curve(record: RunFolder, role: str) -> list[tuple[int, float]]:
        results = record.results
        scale = 100 / results.scale
        found = record.scalars.evaluated(f'{role}/{results.primary}')
        points = {step: scale * value for step, value in found}
        for state, entry in results.states.items():
            value = results.value(state, role)
            if value is not None:
                points[entry['iteration']] = value
        return sorted(points.items())

    @staticmethod
    def _by_class(record: RunFolder) -> Block:
        tables = []
        states = list(record.results.states)
        for role in ROLES:
            metric, values = class_values(record, role)
            if values:
                rows = [[name, *(found.get(state) for state in states)]
                        for name, found in values.items()]  # fmt: skip
                caption = f'{role}: {metric} of each class, in percent'
                tables.append(Table(caption, ['class', *states], rows))
        return Details('Every class', tables) if tables else Paragraph(_HINT, 'note')
