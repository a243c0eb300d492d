"""Plots of a run."""

from knowswap_mm.visualization.plots.blocks import plot_blocks, plot_similarity, plot_where
from knowswap_mm.visualization.plots.curves import Curve, plot_curves, plot_phases
from knowswap_mm.visualization.plots.style import inline_svg

__all__ = [
    'Curve',
    'inline_svg',
    'plot_blocks',
    'plot_curves',
    'plot_phases',
    'plot_similarity',
    'plot_where',
]
