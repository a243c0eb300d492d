"""Learning beside forgetting, block by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from knowswap_mm.visualization.phase_plot import STYLES
from knowswap_mm.visualization.plots.block_axis import label_blocks
from knowswap_mm.visualization.plots.colours import MUTED, RC
from knowswap_mm.visualization.plots.depths import depth, mean_gradient, relative_change

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_where(hosts: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Draw one row a host: share of the gradient, share of the change, and depth over time.

    Several phases of one kind (runs with other seeds) are thin lines, their mean is a thick one.

    Args:
        hosts (Mapping): By the name of a host its profiles, see
            :class:`knowswap_mm.engine.block_profile.BlockProfile`.

    Returns:
        Figure: The plot.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(10, 0.6 + 2.3 * len(hosts)), layout='constrained')
        rows = figure.subplots(len(hosts), 3, squeeze=False)
        for row, (host, profiles) in zip(rows, hosts.items(), strict=True):
            kinds: dict[str, list[Any]] = {}
            for profile in profiles:
                for phase in profile['phases']:
                    kinds.setdefault(phase['kind'], []).append((phase, profile['weight']))
            for kind, found in kinds.items():
                _draw_kind(row, kind, found)
            for axes in row[:2]:
                label_blocks(axes, profiles[0]['blocks'], names=True)
                axes.set_ylim(bottom=0)
                axes.set_xlabel('block')
            row[0].set_ylabel(f'{host}\nshare of the gradient, %')
            row[1].set_ylabel('share of the change, %')
            row[2].set_ylabel('depth (0: first block, 1: last)')
            row[2].set_xlabel('share of the phase done, %')
            for axes in row:
                axes.grid(axis='y', linewidth=0.6)
                axes.set_axisbelow(True)
        labels = {}
        for axes in rows.flat:
            labels |= dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
        figure.legend(labels.values(), labels.keys(), loc='outside lower center', ncols=4)
    return figure


def _draw_kind(row: Sequence[Axes], kind: str, found: Sequence[Any]) -> None:
    colour = STYLES.get(kind, (MUTED, ''))[0].lower()
    shares = [mean_gradient(phase, 'share') for phase, _ in found]
    changes = [relative_change(phase, weight) for phase, weight in found]
    last = [each[-1] / each[-1].sum() for each in changes]
    places = np.arange(1, len(shares[0]) + 1)
    _lines(row[0], places, 100 * np.asarray(shares), colour, '-', '')
    _lines(row[1], places, 100 * np.asarray(last), colour, '-', '')
    parts = {len(phase['ends']) for phase, _ in found}
    if len(parts) > 1:  # phases too short to be cut alike
        return
    ends = 100 * (np.arange(parts.pop()) + 1) / len(found[0][0]['ends'])
    gradients = [[depth(part) for part in phase['share']] for phase, _ in found]
    moved = [[depth(part) for part in each] for each in changes]
    _lines(row[2], ends, np.asarray(gradients), colour, '-', f'{kind}: gradient')
    _lines(row[2], ends, np.asarray(moved), colour, '--', f'{kind}: change since the phase began')


def _lines(
    axes: Axes, places: np.ndarray, rows: np.ndarray, colour: str, dashes: str, label: str
) -> None:
    if len(rows) > 1:
        for row in rows:
            axes.plot(places, row, color=colour, linestyle=dashes, linewidth=0.7, alpha=0.5)
    axes.plot(
        places, rows.mean(axis=0), color=colour, linestyle=dashes, marker='o', markersize=3,
        label=label or '_',
    )  # fmt: skip
