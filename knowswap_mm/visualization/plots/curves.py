"""Values over the iterations and the phases of a run."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knowswap_mm.roles import ROLES
from knowswap_mm.visualization.plots.style import (
    BAND,
    DASHES,
    INK,
    MUTED,
    STYLES,
    styled_figure,
    write_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from knowswap_mm.runs.results import SwapResults


@dataclass(frozen=True)
class Curve:
    """A value over the iterations.

    Attributes:
        label (str): Its name in the legend.
        points (Sequence[tuple[float, float]]): Iteration and value.
        colour (str): Colour of :mod:`colours`.
        marker (str): Marker of matplotlib; empty for none.
        dashes (str): Line style of matplotlib.
    """

    label: str
    points: Sequence[tuple[float, float]]
    colour: str = MUTED
    marker: str = ''
    dashes: str = '-'

    @classmethod
    def of_role(
        cls, role: str, points: Sequence[tuple[float, float]], label: str = '', marked: bool = False
    ) -> Curve:
        """The curve of a role in its colour, with its marker at each point if ``marked``."""
        colour, marker = STYLES[role]
        return cls(label or role, points, colour.lower(), marker if marked else '')

    @classmethod
    def other(cls, label: str, points: Sequence[tuple[float, float]], number: int = 0) -> Curve:
        """The curve of something that is no role's; dashes tell several apart by their number."""
        return cls(label, points, MUTED, '', DASHES[number % len(DASHES)])


#: A phase below this share of the run is too short for its name.
_NAMED = 0.07


def plot_curves(
    curves: Sequence[Curve],
    phases: Sequence[Mapping[str, Any]],
    ylabel: str,
    *,
    log: bool = False,
    limits: tuple[float, float] | None = None,
    bounds: bool = False,
    restarts: bool = False,
) -> Figure:
    """Draw curves over the iterations, with a band for each phase.

    Args:
        curves (Sequence[Curve]): What to draw; those without points are left out.
        phases (Sequence[Mapping]): ``kind``, ``begin``, ``length`` and ``bound`` of each phase.
        ylabel (str): What the values are, with their unit.
        log (bool): Whether the axis is logarithmic where values differ in size; with values below
            zero it is so on both sides.
        limits (tuple | None): Ends of the axis.
        bounds (bool): Whether the bound of each phase that has one is drawn.
        restarts (bool): Whether values start anew with each phase, so that no line may lead from
            one phase to the next.
    """
    curves = [curve for curve in curves if curve.points]
    with styled_figure(5.4, 2.7) as figure:
        axes = figure.subplots()
        for curve in curves:
            label = curve.label
            for points in _by_phase(curve.points, phases) if restarts else [curve.points]:
                axes.plot(
                    *zip(*points, strict=True),
                    color=curve.colour,
                    marker=curve.marker or ('.' if len(points) == 1 else ''),
                    linestyle=curve.dashes,
                    label=label,
                    clip_on=False if limits else True,
                )
                label = '_again'
        _bands(axes, phases)
        if bounds:
            _bounds(axes, phases)
        if log:
            _set_log(axes, [y for curve in curves for _, y in curve.points])
        if limits:
            axes.set_ylim(*limits)
        axes.set_xlabel('iteration')
        axes.set_ylabel(ylabel)
        figure.legend(loc='outside lower center', ncols=min(len(curves) + bounds, 4))
    return figure


def _by_phase(
    points: Sequence[tuple[float, float]], phases: Sequence[Mapping[str, Any]]
) -> list[list[tuple[float, float]]]:
    """The points of each phase that has some; what lies outside of all joins its neighbours."""
    ends = [phase['begin'] + phase['length'] for phase in phases[:-1]]
    parts: dict[int, list[tuple[float, float]]] = {}
    for point in points:  # the value of an iteration is logged when it is done
        parts.setdefault(bisect_left(ends, point[0]), []).append(point)
    return list(parts.values())


def _set_log(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis with few, plain labels; none for values of one size."""
    from matplotlib.ticker import LogLocator, NullLocator

    lowest, highest = min(values, default=1), max(values, default=1)
    if lowest <= 0:
        axes.set_yscale('symlog', linthresh=0.01)
        return
    if highest < 10 * lowest:
        return
    axes.set_yscale('log')
    few = highest > 1e3 * lowest
    axes.yaxis.set_major_locator(LogLocator(subs=(1,) if few else (1, 2, 5), numticks=10))
    axes.yaxis.set_major_formatter('{x:g}')
    axes.yaxis.set_minor_locator(NullLocator())


def _bands(axes: Axes, phases: Sequence[Mapping[str, Any]]) -> None:
    total = max((phase['begin'] + phase['length'] for phase in phases), default=0)
    if not total:
        return
    axes.set_xlim(0, total)
    for number, phase in enumerate(phases):
        begin, end = phase['begin'], phase['begin'] + phase['length']
        if number % 2:
            axes.axvspan(begin, end, color=BAND, alpha=0.14, linewidth=0)
        if phase['length'] >= _NAMED * total:
            place = axes.get_xaxis_transform()
            axes.text(
                (begin + end) / 2, 1.02, phase['kind'], transform=place, ha='center', color=INK
            )


def _bounds(axes: Axes, phases: Sequence[Mapping[str, Any]]) -> None:
    label = 'bound'
    for phase in phases:
        if phase.get('bound') is not None and phase['kind'] in ('forget', 'joint'):
            ends = (phase['begin'], phase['begin'] + phase['length'])
            axes.hlines(phase['bound'], *ends, color=MUTED, linestyle='--', label=label)
            label = '_again'


def plot_phases(results: SwapResults, path: str | Path, title: str = '') -> Path:
    """Draw the primary metric of each role at the start and after each phase; return the image.

    The ending of the path chooses the format.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    states = list(results.states)
    figure = Figure(figsize=(1.8 + 1.5 * len(states), 3.6), layout='constrained')
    axes = figure.subplots()
    for role in ROLES:
        points = [(x, results.value(state, role)) for x, state in enumerate(states)]
        points = [(x, y) for x, y in points if y is not None]
        if not points:
            continue
        colour, marker = STYLES[role]
        axes.plot(*zip(*points, strict=True), color=colour, marker=marker, label=role)
        for x, y in points:
            axes.annotate(
                f'{y:.1f}', (x, y), (0, 6), textcoords='offset points', ha='center', color=colour
            )
    axes.set_xticks(range(len(states)), [state.replace('_', '\n') for state in states])
    axes.set_xlim(-0.4, len(states) - 0.6)
    axes.set_ylim(-4, 110)
    axes.set_ylabel(results.primary)
    axes.set_title(title)
    axes.grid(axis='y', alpha=0.3)
    axes.legend(loc='center left', bbox_to_anchor=(1, 0.5), frameon=False)
    write_figure(path, figure, dpi=150)
    return Path(path)
