"""Losses of a DETR-like head for several layers at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.models.losses import FocalLoss, GIoULoss, L1Loss, SmoothL1Loss
from mmdet.models.task_modules.assigners import HungarianAssigner
from torch import Tensor, nn

from knowswap_mm.acceleration.matching.assignment import assign
from knowswap_mm.acceleration.matching.box_costs import box_costs, knows_box_costs
from knowswap_mm.acceleration.matching.box_objects import BoxObjects
from knowswap_mm.acceleration.matching.box_overlap import box_overlap
from knowswap_mm.acceleration.matching.device_numbers import send
from knowswap_mm.acceleration.matching.host_copy import HostCopy
from knowswap_mm.acceleration.matching.normalisers import EPS, share_counts

#: Losses of one layer: class, box, overlap.
Terms = tuple[Tensor, Tensor, Tensor]


class BatchedBoxLosses:
    """Mixed into a ``DETRHead`` of mmdet; a *set* are the predictions of one layer.

    The host computes the same, layer by layer and picture by picture, and waits for the device
    some ten times each. Here the costs of all sets and pictures are one tensor, which is copied to
    the host once; how many pairs there will be is known without looking. Box losses are computed
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

    def begin_match(self, scores: Tensor, boxes: Tensor, objects: BoxObjects) -> HostCopy:
        """Compute all costs and send them on their way to the host.

        Args:
            scores (Tensor): Logits, ``(sets, N, queries, classes)``.
            boxes (Tensor): Centre, width and height, ``(sets, N, queries, 4)``.
            objects (BoxObjects): What is matched.
        """
        return HostCopy(box_costs(self.assigner.match_costs, scores, boxes, objects))

    def end_match(self, costs: HostCopy, objects: BoxObjects) -> tuple[Tensor, Tensor]:
        """Assign on the host and send the result to the device.

        Returns:
            tuple[Tensor, Tensor]: Matched queries, numbered through all pictures, and their
            objects, each ``(sets, pairs)``.
        """
        pairs = send([assign(costs.wait(), objects.counts)], objects.labels.device)[0]
        return pairs[0], pairs[1]

    def normalisers(
        self, found: Sequence[tuple[int, int]], like: Tensor
    ) -> list[tuple[float | Tensor, float | Tensor]]:
        """What class losses and box losses are divided by.

        Args:
            found (Sequence[tuple[int, int]]): Positive and negative queries of each part.
            like (Tensor): A tensor on the device.
        """
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
            queries (Tensor): Matched queries, numbered through all pictures, ``(sets, pairs)``.
            chosen (Tensor): Their objects, ``(sets, pairs)``.
            objects (BoxObjects): The objects.
            normalisers (tuple): Of class losses and of box losses.

        Returns:
            list[tuple[Tensor, Tensor, Tensor]]: Class, box and overlap loss by set. They are
            numbers, where the host's class loss may be a vector of one.
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
        sizes = objects.sizes[objects.picture[chosen]]
        overlap = box_overlap(
            to_corners(boxes) * sizes, to_corners(targets) * sizes, self.loss_iou.eps
        )
        loss_iou = self.loss_iou.loss_weight * (1 - overlap).sum(1) / by_box
        return list(zip(loss_cls, loss_bbox, loss_iou, strict=True))


def to_corners(boxes: Tensor) -> Tensor:
    """Corners of boxes that are given by centre, width and height."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat((centre - half, centre + half), dim=-1)


def name_terms(prefixes: Sequence[str], terms: Sequence[Terms], kind: str = '') -> dict:
    """Losses as the host names them.

    Args:
        prefixes (Sequence[str]): Of each set, e.g. ``d0.``.
        terms (Sequence[tuple]): Class, box and overlap loss of each set.
        kind (str): ``enc_``, ``dn_`` or nothing.
    """
    names = ('loss_cls', 'loss_bbox', 'loss_iou')
    return {
        f'{prefix}{kind}{name}': value
        for prefix, values in zip(prefixes, terms, strict=True)
        for name, value in zip(names, values, strict=True)
    }
