"""Plots of a run."""

from knowswap_mm.visualization.plots.block_plot import plot_blocks
from knowswap_mm.visualization.plots.curve import Curve
from knowswap_mm.visualization.plots.curves_plot import plot_curves
from knowswap_mm.visualization.plots.inline_svg import inline_svg
from knowswap_mm.visualization.plots.similarity_plot import plot_similarity
from knowswap_mm.visualization.plots.where_plot import plot_where

__all__ = ['Curve', 'inline_svg', 'plot_blocks', 'plot_curves', 'plot_similarity', 'plot_where']
