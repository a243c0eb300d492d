"""What probes recover of the forgotten classes, from the input of a model to its head."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from knowswap_mm.visualization.plots.blocks import label_blocks
from knowswap_mm.visualization.plots.style import DASHES, MUTED, STYLES, styled_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Panels beside one another.
_COLUMNS = 3


def plot_recovery(curves: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw one panel an attack: before, after and references by place, in percent.

    The bands are 95 % intervals.

    Args:
        curves (Sequence[Mapping]): Entries of ``curves`` in an ``audit.json``: ``attack``,
            ``places`` and ``by_model`` with ``value``, ``low`` and ``high``.
    """
    columns = min(len(curves), _COLUMNS)
    rows = math.ceil(len(curves) / columns)
    with styled_figure(0.8 + 2.5 * columns, 0.7 + 2.1 * rows) as figure:
        grid = figure.subplots(rows, columns, sharey=True, squeeze=False).flatten()
        for axes, curve in zip(grid, curves, strict=False):
            _draw(axes, curve)
        for axes in grid[len(curves) :]:
            axes.set_visible(False)
        for axes in grid[::columns]:
            axes.set_ylabel('forgotten units named, %')
        labels = grid[0].get_legend_handles_labels()
        figure.legend(*labels, loc='outside lower center', ncols=min(len(labels[0]), 4))
    return figure


def _draw(axes: Axes, curve: Mapping[str, Any]) -> None:
    places = [str(place) for place in curve['places']]
    across = range(1, len(places) + 1)
    others = 0
    for name, values in curve['by_model'].items():
        style = dict(label=name, color=MUTED, marker='o', markersize=3)
        if name == 'after':
            style['color'] = STYLES['forget'][0].lower()
        elif name == 'before':
            style['linestyle'] = DASHES[1]
        else:
            style.update(color=STYLES['retain'][0].lower(), linestyle=DASHES[others % len(DASHES)])
            others += 1
        axes.plot(across, [100 * each['value'] for each in values], **style)
        if name == 'after':
            low, high = ([100 * each[end] for each in values] for end in ('low', 'high'))
            axes.fill_between(across, low, high, color=style['color'], alpha=0.15, linewidth=0)
    label_blocks(axes, places)
    axes.set_ylim(0, 103)
    axes.set_title(str(curve['attack']))
    axes.set_xlabel('place; the last one is the head')
