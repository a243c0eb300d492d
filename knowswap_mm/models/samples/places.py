"""Which queries of a transformer's decoder lie on one thing; training and audit ask alike."""

from __future__ import annotations

import torch
from torch import Tensor

#: Queries that overlap a thing by this share of the best overlap count as well as the best one.
ALMOST = 0.8
#: Least area of a union of boxes, in shares of the image's: what has no size overlaps nothing.
EPS = 1e-9


def queries_at(overlaps: Tensor, queries: Tensor) -> Tensor:
    """Embeddings of the queries that lie where the things are, whatever classes they answer.

    Several queries often lie on one thing almost equally well, and which of them is the best by a
    hair is chance: their mean is read. A thing that no query overlaps well is read from the one
    that overlaps it most, a thing that none overlaps from the mean of all.

    Args:
        overlaps (Tensor): From 0 to 1, ``(..., things, queries)``.
        queries (Tensor): ``(..., queries, channels)``.

    Returns:
        Tensor: ``(..., things, channels)``.
    """
    near = (overlaps >= ALMOST * overlaps.amax(dim=-1, keepdim=True)).to(queries)
    return near @ queries / near.sum(dim=-1, keepdim=True)


def dice(masks: Tensor, others: Tensor) -> Tensor:
    """Overlap of masks with values from 0 to 1; 0 where both are empty.

    Args:
        masks (Tensor): ``(..., N, H, W)``.
        others (Tensor): ``(..., M, H, W)``.

    Returns:
        Tensor: ``(..., N, M)``.
    """
    masks, others = masks.flatten(-2), others.flatten(-2)
    sizes = masks.sum(-1).unsqueeze(-1) + others.sum(-1).unsqueeze(-2)
    return 2 * masks @ others.transpose(-1, -2) / sizes.clamp(min=torch.finfo(sizes.dtype).tiny)


def overlaps_among(answers: Tensor) -> Tensor:
    """How much the queries of an image lie where others do.

    Args:
        answers (Tensor): Boxes with centre, width and height, ``(N, queries, 4)``, or logits of
            masks, ``(N, queries, H, W)``.

    Returns:
        Tensor: Intersection over union, or dice of what is inside of masks, float32, ``(N, queries,
        queries)``; 1 with itself, even of a query that lies nowhere.
    """
    # The hosts' own makes a tensor of a constant, and waits for the device to have it.
    from knowswap_mm.acceleration.matching.box_losses import box_overlap, to_corners

    with torch.autocast(answers.device.type, enabled=False):
        if answers.ndim == 3:
            corners = to_corners(answers.float())
            overlaps = box_overlap(corners.unsqueeze(2), corners.unsqueeze(1), EPS, 'iou')
        else:
            inside = (answers > 0).float()
            overlaps = dice(inside, inside)
    overlaps.diagonal(dim1=1, dim2=2).fill_(1.0)
    return overlaps
