"""Costs of matching boxes, for all layers and pictures at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from mmdet.models.task_modules.assigners import (
    BBoxL1Cost,
    ClassificationCost,
    FocalLossCost,
    IoUCost,
)
from mmdet.models.task_modules.assigners.match_cost import BaseMatchCost
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from torch import Tensor

from knowswap_mm.acceleration.matching.box_objects import BoxObjects
from knowswap_mm.acceleration.matching.box_overlap import MODES, box_overlap


def knows_box_costs(costs: Sequence[BaseMatchCost]) -> bool:
    """Whether :func:`box_costs` can compute all of them."""
    return all(type(cost) in _COSTS for cost in costs) and not any(
        getattr(cost, 'binary_input', False) or getattr(cost, 'iou_mode', 'iou') not in MODES
        for cost in costs
    )


@torch.no_grad()
def box_costs(
    costs: Sequence[BaseMatchCost], scores: Tensor, boxes: Tensor, objects: BoxObjects
) -> Tensor:
    """Weighted sum of an assigner's costs.

    Args:
        costs (Sequence[BaseMatchCost]): The host's costs.
        scores (Tensor): Logits, ``(sets, N, queries, classes)``.
        boxes (Tensor): Centre, width and height, in [0, 1], ``(sets, N, queries, 4)``.
        objects (BoxObjects): The objects.

    Returns:
        Tensor: In fp32, ``(sets, objects, queries)``: each object by the queries of its picture.
    """
    scores, boxes = scores.detach().float(), boxes.detach().float()
    return sum(_COSTS[type(cost)](cost, scores, boxes, objects) for cost in costs)


def _focal(cost: FocalLossCost, scores: Tensor, boxes: Tensor, objects: BoxObjects) -> Tensor:
    p = _of_class(scores, objects).sigmoid()
    negative = (1 - cost.alpha) * p.pow(cost.gamma) * (1 - p + cost.eps).log()
    positive = cost.alpha * (1 - p).pow(cost.gamma) * (p + cost.eps).log()
    return (negative - positive) * cost.weight


def _softmax(
    cost: ClassificationCost, scores: Tensor, boxes: Tensor, objects: BoxObjects
) -> Tensor:
    return -_of_class(scores.softmax(-1), objects) * cost.weight


def _distance(cost: BBoxL1Cost, scores: Tensor, boxes: Tensor, objects: BoxObjects) -> Tensor:
    targets = objects.targets
    if cost.box_format == 'xyxy':
        boxes, targets = bbox_cxcywh_to_xyxy(boxes), bbox_cxcywh_to_xyxy(targets)
    return (boxes[:, objects.picture] - targets[:, None]).abs().sum(-1) * cost.weight


def _overlap(cost: IoUCost, scores: Tensor, boxes: Tensor, objects: BoxObjects) -> Tensor:
    # In pixels, because the least area of a union is meant so.
    corners = bbox_cxcywh_to_xyxy(boxes) * objects.sizes[:, None]
    others = objects.corners[:, None]
    return -box_overlap(corners[:, objects.picture], others, 1e-6, cost.iou_mode) * cost.weight


def _of_class(values: Tensor, objects: BoxObjects) -> Tensor:
    """What each query says of the class of each object of its picture."""
    return values[:, objects.picture, :, objects.labels].transpose(0, 1)


_COSTS: dict[type, Callable[..., Tensor]] = {
    FocalLossCost: _focal,
    ClassificationCost: _softmax,
    BBoxL1Cost: _distance,
    IoUCost: _overlap,
}
