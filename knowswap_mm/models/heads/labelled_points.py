"""Points of a picture where a label is."""

from __future__ import annotations

import torch
from mmcv.ops import point_sample
from torch import Tensor


def sample_labelled(labelled: Tensor, rows: int, points: int) -> Tensor:
    """Draw points of the labelled part of a picture.

    Where everything is labelled, points are drawn anywhere, as hosts do. Otherwise they are centres
    of labelled pixels, so that interpolation there never reads an unlabelled one.

    Args:
        labelled (Tensor): Where the picture is labelled, bool, ``(H, W)``.
        rows (int): Number of draws.
        points (int): Points in each.

    Returns:
        Tensor: Coordinates x, y in [0, 1], ``(rows, points, 2)``.
    """
    drawn = torch.rand((rows, points, 2), device=labelled.device)
    if labelled.all() or not labelled.any():
        return drawn
    height, width = labelled.shape
    y, x = labelled.nonzero(as_tuple=True)
    chosen = (drawn[..., 0] * len(x)).long().clamp(max=len(x) - 1)
    return torch.stack(((x[chosen] + 0.5) / width, (y[chosen] + 0.5) / height), dim=-1)


def sample_uncertain(
    logits: list[Tensor],
    labelled: list[Tensor],
    points: int,
    oversample: float,
    uncertain_share: float,
) -> Tensor:
    """Draw points of which a share is where a mask is least certain (PointRend).

    Args:
        logits (list[Tensor]): Masks by picture, each ``(masks, h, w)``.
        labelled (list[Tensor]): Where each picture is labelled, ``(H, W)``.
        points (int): Points a mask.
        oversample (float): Candidates a point.
        uncertain_share (float): Share of the points that are the least certain candidates.

    Returns:
        Tensor: Coordinates of the masks of all pictures, ``(all masks, points, 2)``.
    """
    candidates = _draw(logits, labelled, int(points * oversample))
    values = point_sample(torch.cat(logits).unsqueeze(1), candidates).squeeze(1)
    uncertain = int(points * uncertain_share)
    best = (-values.abs()).topk(uncertain, dim=1).indices
    chosen = candidates.gather(1, best.unsqueeze(-1).expand(-1, -1, 2))
    return torch.cat((chosen, _draw(logits, labelled, points - uncertain)), dim=1)


def _draw(logits: list[Tensor], labelled: list[Tensor], points: int) -> Tensor:
    pairs = zip(logits, labelled, strict=True)
    return torch.cat([sample_labelled(where, len(masks), points) for masks, where in pairs])
