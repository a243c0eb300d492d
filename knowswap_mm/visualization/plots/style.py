"""Colours of the plots, and a plot as a file or as part of a page."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from knowswap_mm.io.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Colours that readers with colour blindness can tell apart (Okabe and Ito), and a marker each.
STYLES = {'learn': ('#0072B2', 'o'), 'forget': ('#D55E00', 's'), 'retain': ('#009E73', '^')}
DASHES = ('-', '--', ':', '-.')
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
    'axes.axisbelow': True,
    'axes.edgecolor': LINE,
    'axes.grid': True,
    'axes.grid.axis': 'y',
    'axes.labelcolor': INK,
    'axes.spines.right': False,
    'axes.spines.top': False,
    'axes.titlecolor': INK,
    'axes.titlesize': 10,
    'font.family': 'sans-serif',
    'font.size': 9,
    'grid.color': LINE,
    'grid.linewidth': 0.6,
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


@contextmanager
def styled_figure(width: float, height: float) -> Iterator[Figure]:
    """A figure (inches) in the colours above; what is drawn in the block has them, too."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(RC):
        yield Figure(figsize=(width, height), layout='constrained')


def inline_svg(figure: Figure, name: str, alt: str) -> Markup:
    """The plot as an ``<svg>`` element whose colours are those of the page.

    The name, unlike that of every other plot of the page, begins the ids in the element; ``alt``
    says what the plot shows, for those who do not see it.
    """
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context(RC):
        figure.savefig(buffer, format='svg', transparent=True, metadata={'Date': None})
    text = buffer.getvalue()
    text = text[text.index('<svg') :].strip()
    text = re.sub(r'\s*<metadata>.*?</metadata>', '', text, flags=re.DOTALL)
    text = re.sub(r'(\sid="|href="#|url\(#)', rf'\g<1>{name}-', text)
    for colour, here in ON_A_PAGE.items():
        text = re.sub(re.escape(colour), here, text, flags=re.IGNORECASE)
    # The page says how wide it is; the view box keeps its proportions.
    head, rest = text.split('>', 1)
    width = re.search(r'width="([\d.]+)pt"', head).group(1)
    head = re.sub(r'\s(width|height|version)="[^"]*"', '', head)
    head += f' role="img" aria-label="{escape(alt)}" style="--width: {round(float(width))}"'
    return Markup(f'{head}>{rest}')


def write_figure(path: str | Path, figure: Any, **settings: Any) -> None:
    """Write a figure, whole or not at all; the ending of the path tells the format."""
    kind = Path(path).suffix.removeprefix('.') or 'png'
    write_atomic(path, lambda file: figure.savefig(file, format=kind, **settings))
