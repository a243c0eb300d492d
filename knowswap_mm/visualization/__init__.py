"""Images of a run."""

from knowswap_mm.visualization.plots.phases import plot_phases

__all__ = ['plot_phases']
