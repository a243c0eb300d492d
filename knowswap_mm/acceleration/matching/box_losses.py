"""Losses of a DETR-like head for several layers at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from mmdet.models.losses import FocalLoss, GIoULoss, L1Loss, SmoothL1Loss
from mmdet.models.task_modules.assigners import (
    BBoxL1Cost,
    ClassificationCost,
    FocalLossCost,
    HungarianAssigner,
    IoUCost,
)
from mmdet.models.task_modules.assigners.match_cost import BaseMatchCost
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy, bbox_xyxy_to_cxcywh
from mmengine.structures import InstanceData
from torch import Tensor, nn

from knowswap_mm.acceleration.matching.assignment import (
    EPS,
    CPUCopy,
    TellsPairs,
    assign,
    send,
    share_counts,
)

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
        Tensor: In fp32, ``(sets, objects, queries)``: each object by the queries of its image.
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
    return (boxes[:, objects.image] - targets[:, None]).abs().sum(-1) * cost.weight


def _overlap(cost: IoUCost, scores: Tensor, boxes: Tensor, objects: BoxObjects) -> Tensor:
    # In pixels, because the least area of a union is meant so.
    corners = bbox_cxcywh_to_xyxy(boxes) * objects.sizes[:, None]
    others = objects.corners[:, None]
    return -box_overlap(corners[:, objects.image], others, 1e-6, cost.iou_mode) * cost.weight


def _of_class(values: Tensor, objects: BoxObjects) -> Tensor:
    """What each query says of the class of each object of its image."""
    return values[:, objects.image, :, objects.labels].transpose(0, 1)


_COSTS: dict[type, Callable[..., Tensor]] = {
    FocalLossCost: _focal,
    ClassificationCost: _softmax,
    BBoxL1Cost: _distance,
    IoUCost: _overlap,
}


class BoxObjects:
    """The objects of all images, one after another, on the device.

    Args:
        instances (Sequence[InstanceData]): Objects by image: ``bboxes`` ``(n, 4)``, corners in
            pixels, and ``labels`` ``(n,)``.
        metas (Sequence[dict]): Meta information by image, of which ``img_shape`` counts.
        more (Sequence[np.ndarray]): Further integers that are to travel along.

    Attributes:
        counts (list[int]): Objects of each image.
        sizes (Tensor): Width, height, width, height of each image, ``(N, 4)``.
        image (Tensor): Number of the image of each object, ``(objects,)``.
        labels (Tensor): Class of each, ``(objects,)``.
        corners (Tensor): Their corners in pixels, ``(objects, 4)``.
        targets (Tensor): Centre, width and height as shares of their image, ``(objects, 4)``.
        more (list[Tensor]): The further numbers.
    """

    def __init__(
        self,
        instances: Sequence[InstanceData],
        metas: Sequence[dict],
        more: Sequence[np.ndarray] = (),
    ) -> None:
        self.counts = [len(each.labels) for each in instances]
        self.labels = torch.cat([each.labels for each in instances]).long()
        self.corners = torch.cat([each.bboxes for each in instances])
        shapes = np.array([meta['img_shape'] for meta in metas], dtype=np.int64)
        numbers = np.repeat(np.arange(len(self.counts)), self.counts)
        arrays = [shapes[:, [1, 0, 1, 0]], numbers, *more]
        sizes, self.image, *self.more = send(arrays, self.corners.device)
        self.sizes = sizes.to(self.corners.dtype)
        self.targets = bbox_xyxy_to_cxcywh(self.corners / self.sizes[self.image])

    def __len__(self) -> int:
        return sum(self.counts)

    @staticmethod
    def fits(instances: Sequence[InstanceData]) -> bool:
        """Whether boxes are plain tensors; hosts have other kinds, too."""
        return all(type(each.bboxes) is Tensor for each in instances)


#: Losses of one layer: class, box, overlap.
Terms = tuple[Tensor, Tensor, Tensor]


class BatchedBoxLosses(TellsPairs):
    """Mixed into a ``DETRHead`` of mmdet; a *set* are the predictions of one layer.

    The host computes the same, layer by layer and image by image, and waits for the device
    some ten times each. Here the costs of all sets and images are one tensor, which is copied to
    the CPU once; how many pairs there will be is known without looking. Box losses are computed
    at matched queries alone: the others have no weight.
    """

    @staticmethod
    def fits(head: nn.Module) -> bool:
        """Whether assigner, costs and losses of a head are those that are known here."""
        losses = [getattr(head, f'loss_{name}', None) for name in ('cls', 'bbox', 'iou')]
        kinds = (FocalLoss,), (L1Loss, SmoothL1Loss), (GIoULoss,)
        assigner = getattr(head, 'assigner', None)
        return (
            all(type(loss) in kind for loss, kind in zip(losses, kinds, strict=True))
            and all(loss.reduction == 'mean' for loss in losses)
            and not losses[0].activated
            and type(assigner) is HungarianAssigner
            and knows_box_costs(assigner.match_costs)
        )

    def begin_match(self, scores: Tensor, boxes: Tensor, objects: BoxObjects) -> CPUCopy:
        """Compute all costs, see :func:`box_costs`, and begin to copy them to the CPU."""
        return CPUCopy(box_costs(self.assigner.match_costs, scores, boxes, objects))

    def end_match(self, costs: CPUCopy, objects: BoxObjects) -> tuple[Tensor, Tensor]:
        """Assign on the CPU and send the result to the device.

        It is the matched queries, numbered through all images, and their objects, each
        ``(sets, pairs)``.
        """
        pairs = send([assign(costs.wait(), objects.counts)], objects.labels.device)[0]
        return pairs[0], pairs[1]

    def normalisers(
        self, found: Sequence[tuple[int, int]], like: Tensor
    ) -> list[tuple[float | Tensor, float | Tensor]]:
        """What class and box losses are divided by, given positive and negative queries by part."""
        counts = []
        for positive, negative in found:
            counts += [positive + negative * self.bg_cls_weight, positive]
        shared = [self.sync_cls_avg_factor, True] * len(found)
        means = share_counts([float(count) for count in counts], shared, like)
        return list(zip(means[::2], means[1::2], strict=True))

    def set_losses(
        self,
        scores: Tensor,
        boxes: Tensor,
        queries: Tensor,
        chosen: Tensor,
        objects: BoxObjects,
        normalisers: tuple[float | Tensor, float | Tensor],
    ) -> list[Terms]:
        """Losses of every set, given who is matched.

        Args:
            scores (Tensor): Logits, ``(sets, N, queries, classes)``.
            boxes (Tensor): Centre, width and height, ``(sets, N, queries, 4)``.
            queries (Tensor): Matched queries, numbered through all images, ``(sets, pairs)``.
            chosen (Tensor): Their objects, ``(sets, pairs)``.
            objects (BoxObjects): The objects.
            normalisers (tuple): Of class losses and of box losses.

        Returns:
            list[Terms]: By set numbers, where the host's class loss may be a vector of one.
        """
        sets = len(scores)
        by_class, by_box = (normaliser + EPS for normaliser in normalisers)
        boxes = boxes.flatten(1, 2)
        if not boxes.shape[1]:
            nothing = scores.flatten(1).sum(1)
            return list(zip(nothing, boxes.flatten(1).sum(1), boxes.flatten(1).sum(1), strict=True))
        labels = queries.new_full(boxes.shape[:2], self.num_classes)
        labels.scatter_(1, queries, objects.labels[chosen])
        classes = scores.shape[-1]
        loss_cls = self.loss_cls(
            scores.reshape(-1, classes), labels.flatten(), reduction_override='none'
        )
        loss_cls = loss_cls.view(sets, -1).sum(1) / by_class
        if not queries.shape[1]:
            nothing = boxes.flatten(1).sum(1) * 0
            return list(zip(loss_cls, nothing, nothing, strict=True))
        boxes = boxes.gather(1, queries.unsqueeze(-1).expand(-1, -1, 4))
        targets = objects.targets[chosen]
        loss_bbox = self.loss_bbox(boxes, targets, reduction_override='none').sum((1, 2)) / by_box
        sizes = objects.sizes[objects.image[chosen]]
        overlap = box_overlap(
            to_corners(boxes) * sizes, to_corners(targets) * sizes, self.loss_iou.eps
        )
        loss_iou = self.loss_iou.loss_weight * (1 - overlap).sum(1) / by_box
        return list(zip(loss_cls, loss_bbox, loss_iou, strict=True))


def to_corners(boxes: Tensor) -> Tensor:
    """Corners of boxes that are given by centre, width and height, all ``(..., 4)``."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat((centre - half, centre + half), dim=-1)


def name_terms(terms: Sequence[Terms], kind: str = '') -> dict[str, Tensor]:
    """Losses of layers as the host names them: those of the last one have no number.

    The ``kind`` is ``enc_``, ``dn_`` or nothing.
    """
    prefixes = ['', *(f'd{number}.' for number in range(len(terms) - 1))]
    names = ('loss_cls', 'loss_bbox', 'loss_iou')
    return {
        f'{prefix}{kind}{name}': value
        for prefix, values in zip(prefixes, [*terms[-1:], *terms[:-1]], strict=True)
        for name, value in zip(names, values, strict=True)
    }
