"""mmdet's Mask2Former head with batched losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from mmcv.ops import point_sample
from mmdet.models.dense_heads import Mask2FormerHead
from mmdet.models.losses import CrossEntropyLoss, DiceLoss
from mmdet.models.task_modules.assigners import (
    ClassificationCost,
    CrossEntropyLossCost,
    DiceCost,
    HungarianAssigner,
)
from mmdet.models.task_modules.assigners.match_cost import BaseMatchCost
from mmdet.models.task_modules.samplers import MaskPseudoSampler
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn import functional as F

from knowswap_mm.acceleration.matching.assignment import (
    EPS,
    CPUCopy,
    TellsPairs,
    assign,
    send,
    share_counts,
)

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
        Tensor: In fp32, ``(sets, segments, queries)``: each segment by the queries of its image.
    """
    with torch.autocast(scores.device.type, enabled=False):
        probabilities = scores.detach().float().softmax(-1)
        labels = segments.by_image(segments.labels)
        wanted = segments.sample(points.transpose(0, 1)[segments.image])
        wanted = segments.by_image(wanted).permute(2, 0, 1, 3)
        sets, images, queries = scores.shape[:3]
        step = max(1, MOST_VALUES // (images * queries * points.shape[2]))
        found = []
        for first in range(0, sets, step):
            part = slice(first, first + step)
            pairs = zip(masks[part], points[part], strict=True)
            logits = torch.stack([point_sample(m.detach().float(), p) for m, p in pairs])
            inputs = probabilities[part], labels, logits, wanted[part]
            found.append(sum(_COSTS[type(cost)](cost, *inputs) for cost in costs))
        table = torch.cat(found).transpose(2, 3)
        return table[:, segments.image, segments.place]


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


class MaskSegments:
    """The segments of all images, one after another, on the device.

    Args:
        instances (Sequence[InstanceData]): Segments by image: ``masks`` ``(n, H, W)`` of one
            size, and ``labels`` ``(n,)``.

    Attributes:
        counts (list[int]): Segments of each image.
        labels (Tensor): Class of each segment, ``(segments,)``.
        masks (Tensor): Their masks, ``(segments, 1, H, W)``, float.
        image (Tensor): Number of the image of each, ``(segments,)``.
        place (Tensor): Number of each within its image, ``(segments,)``.
    """

    def __init__(self, instances: Sequence[InstanceData]) -> None:
        self.counts = [len(each.labels) for each in instances]
        self.labels = torch.cat([each.labels for each in instances]).long()
        self.masks = torch.cat([each.masks for each in instances]).float().unsqueeze(1)
        numbers = np.repeat(np.arange(len(self.counts)), self.counts)
        places = np.concatenate([np.arange(count) for count in self.counts])
        self.image, self.place = send([numbers, places.astype(np.int64)], self.masks.device)

    def __len__(self) -> int:
        return sum(self.counts)

    @staticmethod
    def fits(instances: Sequence[InstanceData]) -> bool:
        """Whether all masks are tensors of one size."""
        return all(type(each.masks) is Tensor for each in instances) and (
            len({each.masks.shape[1:] for each in instances}) == 1
        )

    def by_image(self, values: Tensor) -> Tensor:
        """Put values ``(segments, ...)`` into a table ``(N, most segments, ...)`` of images.

        It is zero where an image has fewer.
        """
        table = values.new_zeros((len(self.counts), max(self.counts), *values.shape[1:]))
        table[self.image, self.place] = values
        return table

    def sample(self, points: Tensor) -> Tensor:
        """Read each mask at points of its own: ``(segments, sets, points)``.

        The points are x and y in [0, 1], ``(segments, sets, points, 2)``.
        """
        return point_sample(self.masks, points).squeeze(1)


class PointDraws:
    """Draws all points before the first layer is matched.

    The host draws for one layer after the other: points to match each image at, candidates of
    uncertain points, and points anywhere. How many there are does not depend on the matching.

    Args:
        head (nn.Module): Says how many points a mask has, how many candidates there are for each,
            and which share of the points are the least certain candidates.
        sets (int): Layers.
        images (int): Images.
        pairs (int): Matched queries a layer.
        device (torch.device): Where they are drawn.

    Attributes:
        uncertain (int): Points of a mask that are chosen from the candidates.
        matching (Tensor): ``(sets, images, points, 2)``.
        candidates (Tensor): ``(sets, pairs, candidates, 2)``.
        anywhere (Tensor): ``(sets, pairs, points - uncertain, 2)``.
    """

    def __init__(
        self, head: nn.Module, sets: int, images: int, pairs: int, device: torch.device
    ) -> None:
        points = head.num_points
        candidates = int(points * head.oversample_ratio)
        self.uncertain = int(head.importance_sample_ratio * points)
        self.matching = torch.empty(sets, images, points, 2, device=device)
        self.candidates = torch.empty(sets, pairs, candidates, 2, device=device)
        self.anywhere = torch.empty(sets, pairs, points - self.uncertain, 2, device=device)
        for number in range(sets):
            # One by one, because a generator's numbers depend on how many are drawn at a time.
            for image in self.matching[number]:
                image.uniform_()
            for drawn in (self.candidates[number], self.anywhere[number]):
                if drawn.numel():
                    drawn.uniform_()

    def choose(self, uncertainty: Tensor) -> Tensor:
        """Take the least certain candidates, and points anywhere: ``(sets * pairs, points, 2)``.

        The uncertainty of the candidates is ``(sets * pairs, candidates)``.
        """
        best = uncertainty.topk(self.uncertain, dim=1).indices
        chosen = self.candidates.flatten(0, 1).gather(1, best.unsqueeze(-1).expand(-1, -1, 2))
        return torch.cat((chosen, self.anywhere.flatten(0, 1)), dim=1)


class BatchedMaskLosses(TellsPairs):
    """Mixed into a ``Mask2FormerHead`` of mmdet; a *set* are the predictions of one layer.

    The host computes the same, layer by layer and image by image, and waits for the device
    some ten times each. Here the costs of all sets and images are copied to the CPU once. The
    random points are the host's. More memory is used: masks at points, of all sets.
    """

    @staticmethod
    def fits(head: nn.Module) -> bool:
        """Whether assigner, sampler, costs and losses of a head are those that are known here."""
        losses = [getattr(head, f'loss_{name}', None) for name in ('cls', 'mask', 'dice')]
        kinds = CrossEntropyLoss, CrossEntropyLoss, DiceLoss
        assigner = getattr(head, 'assigner', None)
        if any(type(loss) is not kind for loss, kind in zip(losses, kinds, strict=True)):
            return False
        of_class, of_mask, _ = losses
        return (
            all(loss.reduction == 'mean' for loss in losses)
            and not of_class.use_sigmoid
            and not of_class.use_mask
            and of_class.ignore_index is None
            and of_class.class_weight is not None
            and of_class.class_weight == head.class_weight
            and of_mask.use_sigmoid
            and of_mask.class_weight is None
            and of_mask.ignore_index is None
            and type(assigner) is HungarianAssigner
            and type(head.sampler) is MaskPseudoSampler
            and knows_mask_costs(assigner.match_costs)
        )

    def loss_by_feat(
        self,
        all_cls_scores: Sequence[Tensor],
        all_mask_preds: Sequence[Tensor],
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict],
    ) -> dict[str, Tensor]:
        """Losses of all sets, named as the host names them.

        They are numbers, where the host's may be vectors of one.
        """
        if not MaskSegments.fits(batch_gt_instances):
            return super().loss_by_feat(
                all_cls_scores, all_mask_preds, batch_gt_instances, batch_img_metas
            )
        segments = MaskSegments(batch_gt_instances)
        scores = torch.stack(tuple(all_cls_scores))
        sets, images, queries = scores.shape[:3]
        matched = [min(count, queries) for count in segments.counts]
        draws = PointDraws(self, sets, images, sum(matched), scores.device)
        pairs = torch.zeros(2, sets, 0, dtype=torch.long, device=scores.device)
        if sum(matched):
            costs = self.assigner.match_costs
            costs = mask_costs(costs, scores, all_mask_preds, draws.matching, segments)
            pairs = assign(CPUCopy(costs).wait(), segments.counts)
            pairs = send([pairs], scores.device)[0]
        self.tell_pairs(*pairs, segments.labels, queries)
        found = dict(loss_cls=self._class_losses(scores, pairs, segments.labels))
        # The host counts at least one mask an image.
        count = float(sum(max(number, 1) for number in matched))
        normaliser = share_counts([count], [True], scores)[0]
        found |= self._mask_losses(all_mask_preds, pairs, segments, draws, normaliser)
        by_set = {name: values.unbind() for name, values in found.items()}
        prefixes = {sets - 1: '', **{number: f'd{number}.' for number in range(sets - 1)}}
        return {
            f'{prefix}{name}': values[number]
            for number, prefix in prefixes.items()
            for name, values in by_set.items()
        }

    def _class_losses(self, scores: Tensor, pairs: Tensor, of_segment: Tensor) -> Tensor:
        queries, chosen = pairs
        sets, classes = len(scores), scores.shape[-1]
        labels = queries.new_full((sets, scores[0, ..., 0].numel()), self.num_classes)
        labels.scatter_(1, queries, of_segment[chosen])
        weights = send([np.asarray(self.class_weight, dtype=np.float32)], scores.device)[0]
        losses = F.cross_entropy(
            scores.reshape(-1, classes),
            labels.flatten(),
            weight=weights.to(scores.dtype),
            reduction='none',
        )
        sums = losses.view(sets, -1).sum(1) / (weights[labels].sum(1) + EPS)
        return self.loss_cls.loss_weight * sums

    def _mask_losses(
        self,
        masks: Sequence[Tensor],
        pairs: Tensor,
        segments: MaskSegments,
        draws: PointDraws,
        normaliser: float | Tensor,
    ) -> dict[str, Tensor]:
        queries, chosen = pairs
        sets, matched = queries.shape
        parts = zip(masks, queries, strict=True)
        logits = torch.cat([part.flatten(0, 1).index_select(0, here) for part, here in parts])
        logits = logits.unsqueeze(1)
        if not matched:
            nothing = logits.view(sets, -1).sum(1)
            return dict(loss_mask=nothing, loss_dice=nothing)
        with torch.no_grad():
            candidates = draws.candidates.flatten(0, 1)
            points = draws.choose(-point_sample(logits, candidates).squeeze(1).abs())
            # Each mask is read once, at the points of all sets.
            layer = torch.arange(sets, device=points.device)[:, None]
            of_segment = points.new_zeros((len(segments), sets, *points.shape[1:]))
            of_segment[chosen, layer] = points.view(sets, matched, *points.shape[1:])
            wanted = segments.sample(of_segment)[chosen, layer].flatten(0, 1)
        found = point_sample(logits, points).squeeze(1)
        dice = self.loss_dice(found, wanted, reduction_override='none')
        mask = self.loss_mask(found.flatten(), wanted.flatten(), reduction_override='none')
        return dict(
            loss_mask=mask.view(sets, -1).sum(1) / (normaliser * self.num_points + EPS),
            loss_dice=dice.view(sets, -1).sum(1) / (normaliser + EPS),
        )


class BatchedMask2FormerHead(BatchedMaskLosses, Mask2FormerHead):
    """mmdet's ``Mask2FormerHead`` that waits for the device once.

    It has no state of its own: a ``Mask2FormerHead`` becomes one by a change of its class.
    """
