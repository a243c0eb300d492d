"""Rows of the head for classes that are to look as if they had never been seen."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from knowswap_mm.lora.row_layout import RowLayout


@torch.no_grad()
def reset_rows(
    tensor: Tensor,
    layout: RowLayout,
    classes: int,
    forgotten: Sequence[int],
    seed: int,
    noise: float = 0.02,
    margin: float = 0.0,
) -> None:
    """Write, in place, rows of forgotten classes that hold nothing about them.

    A row is the mean of those of all other classes, with a little noise, and so is a bias. What it
    says of anything is the mean of what the others say, so that it is never the best answer. What
    the row was is gone: it neither names the class any more nor points to where it was (issue 27).
    Where classes do not compete with one another, a bias may be lower by a margin.

    Args:
        tensor (Tensor): A class-indexed tensor of ``classes`` classes.
        layout (RowLayout): Where the classes lie in it.
        classes (int): Number of classes.
        forgotten (Sequence[int]): Their labels.
        seed (int): Seed of the noise; equal seeds give equal rows on any device.
        noise (float): Standard deviation of the noise of a weight.
        margin (float): By how much a bias (a tensor of one axis) is lowered, in nats.
    """
    owner = layout.class_of_rows(classes)
    rows = torch.stack([(owner == c).nonzero().flatten() for c in range(classes)])
    kept = [c for c in range(classes) if c not in set(forgotten)]
    along = tensor.movedim(layout.axis, 0)
    generator = torch.Generator().manual_seed(seed)
    # By place within a class: rows of different anchors or box sides are not mixed.
    mean = along[rows[kept].to(tensor.device)].mean(0)
    for label in forgotten:
        drawn = torch.randn(mean.shape, generator=generator).to(mean)
        change = -margin if tensor.ndim == 1 else noise * drawn
        along[rows[label].to(tensor.device)] = mean + change


def reset_head(
    rows: dict[str, nn.Parameter],
    layouts: dict[str, RowLayout],
    classes: int,
    forgotten: Sequence[int],
    seed: int,
    margin: float = 0.0,
) -> None:
    """Reset the rows of forgotten classes in all trained tensors of a head, by name."""
    for number, name in enumerate(sorted(rows)):
        layout = layouts[name]
        reset_rows(rows[name], layout, classes, forgotten, seed + number, margin=margin)
