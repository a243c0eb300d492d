"""The axis of the blocks of a model."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from knowswap_mm.visualization.plots.colours import BAND, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def part_of(block: str) -> str:
    """The part of the model that a block belongs to, in one word.

    Args:
        block (str): Name of a module, e.g. ``decode_head.pixel_decoder.encoder.layers.0``.

    Returns:
        str: The last name before the lists of layers, e.g. ``encoder``.
    """
    names = [name for name in block.split('.') if not name.isdecimal()]
    named = [name for name in names if name not in ('layers', 'stages', 'blocks')]
    return (named or names)[-1]


def label_blocks(axes: Axes, blocks: Sequence[str], names: bool = False) -> None:
    """Number the blocks from 1, and shade every other part of the model.

    Args:
        axes (Axes): Where.
        blocks (Sequence[str]): Names of the blocks.
        names (bool): Whether the parts are named above.
    """
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
