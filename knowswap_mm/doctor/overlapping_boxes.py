"""Input for non-maximum suppression whose answer is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

#: What is kept above an overlap of one half.
KEPT = [0, 2]


def overlapping_boxes() -> tuple[Tensor, Tensor]:
    """Three boxes, of which the second nearly equals the first, and their scores."""
    import torch

    boxes = [[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 3.9], [8.0, 8.0, 9.0, 9.0]]
    return torch.tensor(boxes), torch.tensor([0.9, 0.8, 0.7])
