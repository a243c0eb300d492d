"""Learning beside forgetting, block by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from knowswap_mm.visualization.plots.depth import depth, mean_gradient, relative_change
from knowswap_mm.visualization.plots.style import BAND, DASHES, INK, MUTED, STYLES, styled_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def part_of(block: str) -> str:
    """The part of the model that a block belongs to: the last name before the lists of layers.

    That of ``decode_head.pixel_decoder.encoder.layers.0`` is ``encoder``.
    """
    names = [name for name in block.split('.') if not name.isdecimal()]
    named = [name for name in names if name not in ('layers', 'stages', 'blocks')]
    return (named or names)[-1]


def label_blocks(axes: Axes, blocks: Sequence[str], names: bool = False) -> None:
    """Number the blocks from 1, shade every other part of the model, and name it above if asked."""
    first = 1
    for number, (part, members) in enumerate(groupby(blocks, part_of)):
        last = first + len(list(members)) - 1
        if number % 2:
            axes.axvspan(first - 0.5, last + 0.5, color=BAND, alpha=0.14, linewidth=0)
        if names:
            place = axes.get_xaxis_transform()
            text = part.split('_')[-1]
            axes.text((first + last) / 2, 1.03, text, transform=place, ha='center', color=INK)
        first = last + 1
    axes.set_xlim(0.5, len(blocks) + 0.5)
    step = 1 if len(blocks) <= 16 else 2 if len(blocks) <= 32 else 4
    axes.set_xticks(range(1, len(blocks) + 1, step))


def plot_blocks(profile: Mapping[str, Any]) -> Figure:
    """Draw, for each phase, the gradient of each block and how much its weights changed.

    The profile is what :class:`knowswap_mm.engine.hooks.block_profile.BlockProfile` wrote.
    """
    blocks, weight = profile['blocks'], profile['weight']
    with styled_figure(5.4, 4.2) as figure:
        upper, lower = figure.subplots(2, sharex=True)
        for number, phase in enumerate(profile['phases']):
            colour = STYLES.get(phase['kind'], (MUTED, ''))[0].lower()
            style = dict(color=colour, marker='o', linestyle=DASHES[number % len(DASHES)])
            places = range(1, len(blocks) + 1)
            upper.plot(places, mean_gradient(phase), label=phase['name'], **style)
            change = [100 * c / w for c, w in zip(phase['change'][-1], weight, strict=True)]
            lower.plot(places, change, **style)
        upper.set_ylabel('gradient norm, mean')
        lower.set_ylabel('change of weights, %')
        for axes in (upper, lower):
            axes.set_ylim(bottom=0)
        label_blocks(upper, blocks, names=True)
        label_blocks(lower, blocks)
        lower.set_xlabel('block, from the input to the output')
        figure.legend(loc='outside lower center', ncols=min(len(profile['phases']), 4))
    return figure


def plot_similarity(blocks: Sequence[str], roles: Mapping[str, Sequence[float | None]]) -> Figure:
    """Draw the centred kernel alignment of each block with itself before the swap, by role.

    A role has one value a block; None where it was not measured.
    """
    with styled_figure(5.4, 2.7) as figure:
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
        figure.legend(loc='outside lower center', ncols=3)
    return figure


def plot_where(hosts: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Draw one row a host: share of the gradient, share of the change, and depth over time.

    Several phases of one kind (runs with other seeds) are thin lines, their mean is a thick one.
    The profiles of a host are those of
    :class:`knowswap_mm.engine.hooks.block_profile.BlockProfile`.
    """
    with styled_figure(10, 0.6 + 2.3 * len(hosts)) as figure:
        rows = figure.subplots(len(hosts), 3, squeeze=False)
        for row, (host, profiles) in zip(rows, hosts.items(), strict=True):
            kinds: dict[str, list[Any]] = {}
            for profile in profiles:
                for phase in profile['phases']:
                    kinds.setdefault(phase['kind'], []).append((phase, profile['weight']))
            for kind, found in kinds.items():
                _draw_kind(row, kind, found)
            for axes in row[:2]:
                label_blocks(axes, profiles[0]['blocks'], names=True)
                axes.set_ylim(bottom=0)
                axes.set_xlabel('block')
            row[0].set_ylabel(f'{host}\nshare of the gradient, %')
            row[1].set_ylabel('share of the change, %')
            row[2].set_ylabel('depth (0: first block, 1: last)')
            row[2].set_xlabel('share of the phase done, %')
        labels = {}
        for axes in rows.flat:
            labels |= dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
        figure.legend(labels.values(), labels.keys(), loc='outside lower center', ncols=4)
    return figure


def _draw_kind(row: Sequence[Axes], kind: str, found: Sequence[Any]) -> None:
    colour = STYLES.get(kind, (MUTED, ''))[0].lower()
    shares = [mean_gradient(phase, 'share') for phase, _ in found]
    changes = [relative_change(phase, weight) for phase, weight in found]
    last = [each[-1] / each[-1].sum() for each in changes]
    places = np.arange(1, len(shares[0]) + 1)
    _lines(row[0], places, 100 * np.asarray(shares), colour, '-', '')
    _lines(row[1], places, 100 * np.asarray(last), colour, '-', '')
    parts = {len(phase['ends']) for phase, _ in found}
    if len(parts) > 1:  # phases too short to be cut alike
        return
    ends = 100 * (np.arange(parts.pop()) + 1) / len(found[0][0]['ends'])
    gradients = [[depth(part) for part in phase['share']] for phase, _ in found]
    moved = [[depth(part) for part in each] for each in changes]
    _lines(row[2], ends, np.asarray(gradients), colour, '-', f'{kind}: gradient')
    _lines(row[2], ends, np.asarray(moved), colour, '--', f'{kind}: change since the phase began')


def _lines(
    axes: Axes, places: np.ndarray, rows: np.ndarray, colour: str, dashes: str, label: str
) -> None:
    if len(rows) > 1:
        for row in rows:
            axes.plot(places, row, color=colour, linestyle=dashes, linewidth=0.7, alpha=0.5)
    axes.plot(
        places, rows.mean(axis=0), color=colour, linestyle=dashes, marker='o', markersize=3,
        label=label or '_',
    )  # fmt: skip
