"""The metric of each role over the phases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from knowswap_mm.io.files import write_atomic
from knowswap_mm.roles import ROLES
from knowswap_mm.runs.results import SwapResults

#: Colours that readers with colour blindness can tell apart (Okabe and Ito), and a marker each.
STYLES = {'learn': ('#0072B2', 'o'), 'forget': ('#D55E00', 's'), 'retain': ('#009E73', '^')}


def plot_phases(results: SwapResults, path: str | Path, title: str = '') -> Path:
    """Draw the primary metric of each role at the start and after each phase.

    Args:
        results (SwapResults): The results of a run.
        path (str | Path): Image to write; its ending chooses the format.
        title (str): Title of the image.

    Returns:
        Path: The image.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    states = list(results.states)
    figure, axes = pyplot.subplots(figsize=(1.8 + 1.5 * len(states), 3.6), layout='constrained')
    for role in ROLES:
        points = [(x, results.value(state, role)) for x, state in enumerate(states)]
        points = [(x, y) for x, y in points if y is not None]
        if not points:
            continue
        colour, marker = STYLES[role]
        axes.plot(*zip(*points, strict=True), color=colour, marker=marker, label=role)
        for x, y in points:
            axes.annotate(
                f'{y:.1f}', (x, y), (0, 6), textcoords='offset points', ha='center', color=colour
            )
    axes.set_xticks(range(len(states)), [state.replace('_', '\n') for state in states])
    axes.set_xlim(-0.4, len(states) - 0.6)
    axes.set_ylim(-4, 110)
    axes.set_ylabel(results.primary)
    axes.set_title(title)
    axes.grid(axis='y', alpha=0.3)
    axes.legend(loc='center left', bbox_to_anchor=(1, 0.5), frameon=False)
    write_figure(path, figure, dpi=150)
    pyplot.close(figure)
    return Path(path)


def write_figure(path: str | Path, figure: Any, **settings: Any) -> None:
    """Write a figure, whole or not at all.

    Args:
        path (str | Path): The file; its ending tells the format.
        figure (Figure): The figure.
        **settings: As of ``savefig``.
    """
    kind = Path(path).suffix.removeprefix('.') or 'png'
    write_atomic(path, lambda file: figure.savefig(file, format=kind, **settings))
