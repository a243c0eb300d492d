"""Draws the image of docs/concepts.md.

    python docs/scripts/concepts.py

The curves are the figures of the table in docs/get_started.md. The ground is white wherever the
image is shown, so that it reads the same in a light and in a dark theme.
"""

import argparse
import re
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
from matplotlib import pyplot
from matplotlib.patches import FancyBboxPatch

from knowswap_mm.roles import ROLES
from knowswap_mm.visualization.plots.style import STYLES

REPOSITORY = Path(__file__).resolve().parents[2]
PICTURE = REPOSITORY / 'docs' / 'images' / 'concepts.svg'
INK, PALE, FROZEN = '#1b1f24', '#f2f4f7', '#c9d3e0'
#: Roles in a batch of each phase, and what each one's term does.
BATCHES = {
    'learn': (('learn', 'its loss goes down'), ('retain', 'its loss stays down')),
    'forget': (('forget', 'its loss goes up to the bound'), ('retain', 'its loss stays down')),
}


def read_states(readme: str) -> list[tuple[str, list[float]]]:
    """State and percent of learn, forget and retain, from the table of the demo."""
    rows = re.findall(
        r'^\| (start|phase\d_\w+) +\| \d+ +\| ([\d.]+) +\| ([\d.]+) +\| ([\d.]+)', readme, re.M
    )
    return [(state, [float(number) for number in numbers]) for state, *numbers in rows]


def box(axes, x: float, y: float, width: float, height: float, colour: str, text: str = '') -> None:
    """A rounded box with a text in its middle."""
    shape = FancyBboxPatch((x, y), width, height, boxstyle='round,pad=0,rounding_size=0.12')
    shape.set(facecolor=colour, edgecolor='none')
    axes.add_patch(shape)
    dark = colour in (PALE, FROZEN)
    axes.text(
        x + width / 2,
        y + height / 2,
        text,
        ha='center',
        va='center',
        fontsize=9,
        color=INK if dark else 'white',
    )


def draw_host(axes) -> None:
    """The host with its adapters and the head with its new rows."""
    axes.text(0.1, 9.35, 'host: frozen', fontsize=10, color=INK, weight='bold')
    axes.text(
        4.7, 9.35, 'adapters and head rows: what trains', fontsize=10, color=INK, weight='bold'
    )
    for number in range(4):
        x = 0.1 + 2.05 * number
        box(axes, x, 7.9, 1.8, 1.1, FROZEN, f'block {number + 1}')
        box(axes, x + 1.1, 7.45, 0.8, 0.6, '#7a4fb5', 'A B')
    box(axes, 8.3, 7.9, 1.6, 1.1, FROZEN, 'head')
    box(axes, 8.3, 7.45, 1.6, 0.42, '#7a4fb5', '+ new rows')


def draw_phase(axes, x: float, kind: str, title: str) -> None:
    """The batch of a phase."""
    axes.text(x, 6.45, title, fontsize=10, color=INK, weight='bold')
    for number, (role, effect) in enumerate(BATCHES[kind]):
        y = 5.6 - 0.75 * number
        box(axes, x, y, 1.3, 0.58, STYLES[role][0], role)
        axes.text(x + 1.45, y + 0.29, effect, fontsize=8.5, va='center', color=INK)


def draw(path: Path) -> None:
    """Draws the image."""
    states = read_states((REPOSITORY / 'docs' / 'get_started.md').read_text(encoding='utf-8'))
    rc = {'svg.fonttype': 'none', 'svg.hashsalt': 'knowswap_mm', 'font.family': 'sans-serif'}
    with pyplot.rc_context(rc):
        figure = pyplot.figure(figsize=(8.4, 6.4), facecolor='white')
        axes = figure.add_axes((0.02, 0, 0.96, 1))
        axes.set(xlim=(0, 10), ylim=(0, 10))
        axes.axis('off')
        draw_host(axes)
        draw_phase(axes, 0.9, 'learn', 'phase 1: learn')
        draw_phase(axes, 5.3, 'forget', 'phase 2: forget')
        curves = figure.add_axes((0.105, 0.09, 0.84, 0.33))
        for place, role in enumerate(ROLES):
            colour, marker = STYLES[role]
            values = [numbers[place] for _, numbers in states]
            curves.plot(range(len(states)), values, color=colour, marker=marker, lw=2)
            curves.annotate(
                role, (2, values[-1]), (8, (6, 0, -6)[place]), textcoords='offset points',
                color=colour, va='center', fontsize=9,
            )  # fmt: skip
        curves.set_xticks(range(len(states)), ['start', 'after phase 1', 'after phase 2'])
        curves.set(ylim=(-5, 105), xlim=(-0.1, 2.3), ylabel='accuracy by role, %')
        curves.spines[['top', 'right']].set_visible(False)
        curves.grid(axis='y', alpha=0.3)
        figure.savefig(path, metadata=dict(Date=None))
        pyplot.close(figure)


def main() -> None:
    """Draws, and says where."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, default=PICTURE, help='svg to write')
    out = parser.parse_args().out
    draw(out)
    print(out)


if __name__ == '__main__':
    main()
