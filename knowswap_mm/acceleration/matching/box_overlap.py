"""Overlap of boxes."""

from __future__ import annotations

import torch
from torch import Tensor

MODES = ('iou', 'giou')


def box_overlap(boxes: Tensor, others: Tensor, eps: float, mode: str = 'giou') -> Tensor:
    """Intersection over union of pairs of boxes, generalised or not.

    Unlike the hosts' it broadcasts, and makes no tensor of ``eps``, which would be a copy to the
    device each time.

    Args:
        boxes (Tensor): Corners x1, y1, x2, y2, ``(..., 4)``.
        others (Tensor): Boxes that broadcast with them.
        eps (float): Least area of a union.
        mode (str): ``giou`` (Rezatofighi et al., CVPR 2019) or ``iou``.

    Returns:
        Tensor: Overlaps, in the broadcast shape without its last dimension.
    """
    lower, upper = boxes[..., :2], boxes[..., 2:]
    other_lower, other_upper = others[..., :2], others[..., 2:]
    overlap = _area((torch.min(upper, other_upper) - torch.max(lower, other_lower)).clamp(min=0))
    union = _area(upper - lower) + _area(other_upper - other_lower) - overlap
    union = union.clamp(min=eps)
    if mode == 'iou':
        return overlap / union
    hull = _area((torch.max(upper, other_upper) - torch.min(lower, other_lower)).clamp(min=0))
    hull = hull.clamp(min=eps)
    return overlap / union - (hull - union) / hull


def _area(sides: Tensor) -> Tensor:
    return sides[..., 0] * sides[..., 1]
