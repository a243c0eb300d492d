"""The profile of one run over its transformer blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from knowswap_mm.visualization.phase_plot import STYLES
from knowswap_mm.visualization.plots.block_axis import label_blocks
from knowswap_mm.visualization.plots.colours import MUTED, RC
from knowswap_mm.visualization.plots.depths import mean_gradient

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DASHES = ('-', '--', ':', '-.')


def plot_blocks(profile: Mapping[str, Any]) -> Figure:
    """Draw, for each phase, the gradient of each block and how much its weights changed.

    Args:
        profile (Mapping): What :class:`knowswap_mm.engine.block_profile.BlockProfile` wrote.

    Returns:
        Figure: Two panels over the blocks.
    """
    import matplotlib
    from matplotlib.figure import Figure

    blocks, weight = profile['blocks'], profile['weight']
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(5.4, 4.2), layout='constrained')
        upper, lower = figure.subplots(2, sharex=True)
        for number, phase in enumerate(profile['phases']):
            colour = STYLES.get(phase['kind'], (MUTED, ''))[0].lower()
            style = dict(color=colour, marker='o', linestyle=_DASHES[number % len(_DASHES)])
            places = range(1, len(blocks) + 1)
            upper.plot(places, mean_gradient(phase), label=phase['name'], **style)
            change = [100 * c / w for c, w in zip(phase['change'][-1], weight, strict=True)]
            lower.plot(places, change, **style)
        upper.set_ylabel('gradient norm, mean')
        lower.set_ylabel('change of weights, %')
        for axes in (upper, lower):
            axes.set_ylim(bottom=0)
            axes.grid(axis='y', linewidth=0.6)
            axes.set_axisbelow(True)
        label_blocks(upper, blocks, names=True)
        label_blocks(lower, blocks)
        lower.set_xlabel('block, from the input to the output')
        figure.legend(loc='outside lower center', ncols=min(len(profile['phases']), 4))
    return figure
