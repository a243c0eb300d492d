"""Colours of all plots; on a page each one follows the page's light or dark theme."""

from __future__ import annotations

from knowswap_mm.visualization.phase_plot import STYLES

INK, LINE, MUTED, BAND = '#1b1f24', '#c9ced6', '#6b7280', '#8f97a3'
#: What a colour is called in the style sheet of a page.
ON_A_PAGE = {
    INK: 'currentColor',
    LINE: 'var(--line)',
    MUTED: 'var(--muted)',
    BAND: 'var(--band)',
    **{colour.lower(): f'var(--{role})' for role, (colour, _) in STYLES.items()},
}
#: What matplotlib draws with.
RC = {
    'axes.edgecolor': LINE,
    'axes.labelcolor': INK,
    'axes.spines.right': False,
    'axes.spines.top': False,
    'axes.titlecolor': INK,
    'axes.titlesize': 10,
    'font.family': 'sans-serif',
    'font.size': 9,
    'grid.color': LINE,
    'legend.frameon': False,
    'lines.linewidth': 1.6,
    'lines.markersize': 4.5,
    'svg.fonttype': 'none',
    'svg.hashsalt': 'knowswap_mm',
    'text.color': INK,
    'xtick.color': LINE,
    'xtick.labelcolor': INK,
    'ytick.color': LINE,
    'ytick.labelcolor': INK,
}
