"""Pictures of a run."""

from knowswap_mm.visualization.phase_plot import plot_phases

__all__ = ['plot_phases']
