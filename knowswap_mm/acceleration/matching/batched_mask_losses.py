"""Losses of a Mask2Former head for all layers at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmcv.ops import point_sample
from mmdet.models.losses import CrossEntropyLoss, DiceLoss
from mmdet.models.task_modules.assigners import HungarianAssigner
from mmdet.models.task_modules.samplers import MaskPseudoSampler
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn import functional as F

from knowswap_mm.acceleration.matching.assignment import assign
from knowswap_mm.acceleration.matching.device_numbers import send
from knowswap_mm.acceleration.matching.host_copy import HostCopy
from knowswap_mm.acceleration.matching.mask_costs import knows_mask_costs, mask_costs
from knowswap_mm.acceleration.matching.mask_segments import MaskSegments
from knowswap_mm.acceleration.matching.normalisers import EPS, share_counts
from knowswap_mm.acceleration.matching.point_draws import PointDraws


class BatchedMaskLosses:
    """Mixed into a ``Mask2FormerHead`` of mmdet; a *set* are the predictions of one layer.

    The host computes the same, layer by layer and picture by picture, and waits for the device
    some ten times each. Here the costs of all sets and pictures are copied to the host once. The
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

        Args:
            all_cls_scores (Sequence[Tensor]): By set ``(N, queries, classes + 1)``.
            all_mask_preds (Sequence[Tensor]): By set ``(N, queries, h, w)``.
            batch_gt_instances (list[InstanceData]): Segments of each picture.
            batch_img_metas (list[dict]): Meta information of each picture.

        Returns:
            dict[str, Tensor]: ``loss_cls``, ``loss_mask`` and ``loss_dice``, with prefixes ``d0.``
            and so on for all but the last set. They are numbers, where the host's may be vectors
            of one.
        """
        if not MaskSegments.fits(batch_gt_instances):
            return super().loss_by_feat(
                all_cls_scores, all_mask_preds, batch_gt_instances, batch_img_metas
            )
        segments = MaskSegments(batch_gt_instances)
        scores = torch.stack(tuple(all_cls_scores))
        sets, pictures, queries = scores.shape[:3]
        matched = [min(count, queries) for count in segments.counts]
        draws = PointDraws(
            sets,
            pictures,
            sum(matched),
            self.num_points,
            self.oversample_ratio,
            self.importance_sample_ratio,
            scores.device,
        )
        pairs = torch.zeros(2, sets, 0, dtype=torch.long, device=scores.device)
        if sum(matched):
            costs = HostCopy(
                mask_costs(
                    self.assigner.match_costs, scores, all_mask_preds, draws.matching, segments
                )
            )
            pairs = send([assign(costs.wait(), segments.counts)], scores.device)[0]
        found = dict(loss_cls=self._class_losses(scores, pairs, segments.labels))
        # The host counts at least one mask a picture.
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
