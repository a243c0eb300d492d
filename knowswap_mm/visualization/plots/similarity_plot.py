"""How alike the blocks are to those before the swap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from knowswap_mm.visualization.phase_plot import STYLES
from knowswap_mm.visualization.plots.block_axis import label_blocks
from knowswap_mm.visualization.plots.colours import RC

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_similarity(blocks: Sequence[str], roles: Mapping[str, Sequence[float | None]]) -> Figure:
    """Draw the centred kernel alignment of each block with itself before the swap, by role.

    Args:
        blocks (Sequence[str]): Names of the blocks.
        roles (Mapping): By role one value a block; None where it was not measured.

    Returns:
        Figure: The plot.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(5.4, 2.7), layout='constrained')
        axes = figure.subplots()
        for role, values in roles.items():
            colour, marker = STYLES[role]
            points = [(n + 1, v) for n, v in enumerate(values) if v is not None]
            if points:
                style = dict(color=colour.lower(), marker=marker, label=role)
                axes.plot(*zip(*points, strict=True), **style)
        label_blocks(axes, blocks, names=True)
        axes.set_ylim(top=1.03)
        axes.set_xlabel('block, from the input to the output')
        axes.set_ylabel('alignment (CKA)')
        axes.grid(axis='y', linewidth=0.6)
        axes.set_axisbelow(True)
        figure.legend(loc='outside lower center', ncols=3)
    return figure
