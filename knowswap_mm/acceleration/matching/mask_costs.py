"""Costs of matching masks at points, for all layers and pictures at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from mmcv.ops import point_sample
from mmdet.models.task_modules.assigners import (
    ClassificationCost,
    CrossEntropyLossCost,
    DiceCost,
)
from mmdet.models.task_modules.assigners.match_cost import BaseMatchCost
from torch import Tensor
from torch.nn import functional as F

from knowswap_mm.acceleration.matching.mask_segments import MaskSegments

#: Values of masks at points that are held at a time: as many layers as fit are computed at once.
MOST_VALUES = 2**25


def knows_mask_costs(costs: Sequence[BaseMatchCost]) -> bool:
    """Whether :func:`mask_costs` can compute all of them."""
    return all(type(cost) in _COSTS for cost in costs) and all(
        cost.use_sigmoid for cost in costs if type(cost) is CrossEntropyLossCost
    )


@torch.no_grad()
def mask_costs(
    costs: Sequence[BaseMatchCost],
    scores: Tensor,
    masks: Sequence[Tensor],
    points: Tensor,
    segments: MaskSegments,
) -> Tensor:
    """Weighted sum of an assigner's costs.

    Args:
        costs (Sequence[BaseMatchCost]): The host's costs.
        scores (Tensor): Logits, ``(sets, N, queries, classes)``.
        masks (Sequence[Tensor]): By set, logits ``(N, queries, h, w)``.
        points (Tensor): Where masks are compared, ``(sets, N, points, 2)``.
        segments (MaskSegments): The segments.

    Returns:
        Tensor: In fp32, ``(sets, segments, queries)``: each segment by the queries of its picture.
    """
    with torch.autocast(scores.device.type, enabled=False):
        probabilities = scores.detach().float().softmax(-1)
        labels = segments.by_picture(segments.labels)
        wanted = segments.sample(points.transpose(0, 1)[segments.picture])
        wanted = segments.by_picture(wanted).permute(2, 0, 1, 3)
        sets, pictures, queries = scores.shape[:3]
        step = max(1, MOST_VALUES // (pictures * queries * points.shape[2]))
        found = []
        for first in range(0, sets, step):
            part = slice(first, first + step)
            pairs = zip(masks[part], points[part], strict=True)
            logits = torch.stack([point_sample(m.detach().float(), p) for m, p in pairs])
            found.append(
                sum(
                    _COSTS[type(cost)](cost, probabilities[part], labels, logits, wanted[part])
                    for cost in costs
                )
            )
        table = torch.cat(found).transpose(2, 3)
        return table[:, segments.picture, segments.place]


def _class(
    cost: ClassificationCost, probabilities: Tensor, labels: Tensor, logits: Tensor, wanted: Tensor
) -> Tensor:
    of = labels[None, :, None].expand(*probabilities.shape[:3], -1)
    return -probabilities.gather(3, of) * cost.weight


def _cross_entropy(
    cost: CrossEntropyLossCost,
    probabilities: Tensor,
    labels: Tensor,
    logits: Tensor,
    wanted: Tensor,
) -> Tensor:
    # softplus(x) is the loss where nothing is wanted; where something is, it is less by x.
    nothing = F.softplus(logits).sum(-1, keepdim=True)
    return (nothing - logits @ wanted.transpose(2, 3)) / logits.shape[-1] * cost.weight


def _dice(
    cost: DiceCost, probabilities: Tensor, labels: Tensor, logits: Tensor, wanted: Tensor
) -> Tensor:
    found = logits.sigmoid() if cost.pred_act else logits
    both = 2 * found @ wanted.transpose(2, 3)
    if not cost.naive_dice:
        found, wanted = found.square(), wanted.square()
    either = found.sum(-1)[..., None] + wanted.sum(-1)[..., None, :]
    return (1 - (both + cost.eps) / (either + cost.eps)) * cost.weight


_COSTS: dict[type, Callable[..., Tensor]] = {
    ClassificationCost: _class,
    CrossEntropyLossCost: _cross_entropy,
    DiceCost: _dice,
}
