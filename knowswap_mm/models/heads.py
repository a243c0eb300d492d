"""Heads of hosts with one thing changed: a Mask2Former that leaves unlabelled pixels alone."""

from __future__ import annotations

import torch
from mmcv.ops import point_sample
from mmdet.utils import reduce_mean
from mmengine.structures import InstanceData
from mmseg.models.decode_heads import Mask2FormerHead
from torch import Tensor

from knowswap_mm.registry import MODELS


def sample_labelled(labelled: Tensor, rows: int, points: int) -> Tensor:
    """Draw points of the labelled part of an image.

    Where everything is labelled, points are drawn anywhere, as hosts do. Otherwise they are centres
    of labelled pixels, so that interpolation there never reads an unlabelled one.

    Args:
        labelled (Tensor): Where the image is labelled, bool, ``(H, W)``.
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
        logits (list[Tensor]): Masks by image, each ``(masks, h, w)``.
        labelled (list[Tensor]): Where each image is labelled, ``(H, W)``.
        points (int): Points a mask.
        oversample (float): Candidates a point.
        uncertain_share (float): Share of the points that are the least certain candidates.

    Returns:
        Tensor: Coordinates of the masks of all images, ``(all masks, points, 2)``.
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


@MODELS.register_module()
class LabelledPointsMask2FormerHead(Mask2FormerHead):
    """mmseg's ``Mask2FormerHead``, matched and supervised at labelled pixels only.

    To the host a pixel without a label (255) belongs to no segment and so speaks against every
    mask. In a role's image whose other classes were made unlabelled that is wrong: they are
    there. Here such pixels are never sampled. On images that are labelled everywhere the losses
    are the host's. What it changes was measured: docs/segmentation.md.

    See the host for the arguments.
    """

    def loss_by_feat(
        self,
        all_cls_scores: list[Tensor],
        all_mask_preds: list[Tensor],
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict],
    ) -> dict[str, Tensor]:
        """Losses of all prediction sets, the host's; what no mask covers is unlabelled."""
        labelled = [instances.masks.bool().any(dim=0) for instances in batch_gt_instances]
        losses = {}
        last = len(all_cls_scores) - 1
        for number, (scores, masks) in enumerate(zip(all_cls_scores, all_mask_preds, strict=True)):
            found = self._losses(scores, masks, batch_gt_instances, batch_img_metas, labelled)
            prefix = '' if number == last else f'd{number}.'
            losses.update({f'{prefix}{name}': value for name, value in found.items()})
        return losses

    def _losses(
        self,
        scores: Tensor,
        masks: Tensor,
        batch: list[InstanceData],
        metas: list[dict],
        labelled: list[Tensor],
    ) -> dict[str, Tensor]:
        labels = scores.new_full(scores.shape[:2], self.num_classes, dtype=torch.long)
        matched, targets, matches = [], [], 0
        for i, (instances, meta) in enumerate(zip(batch, metas, strict=True)):
            match = self._match(scores[i], masks[i], instances, meta, labelled[i])
            labels[i, match.pos_inds] = instances.labels[match.pos_assigned_gt_inds]
            matched.append(masks[i, match.pos_inds])
            targets.append(instances.masks[match.pos_assigned_gt_inds].float())
            matches += match.avg_factor
        weights = scores.new_tensor(self.class_weight)
        labels = labels.flatten()
        loss_cls = self.loss_cls(
            scores.flatten(0, 1),
            labels,
            torch.ones_like(labels),
            avg_factor=weights[labels].sum(),
        )
        segments = max(reduce_mean(scores.new_tensor([matches])), 1)
        logits = torch.cat(matched)
        if not len(logits):
            return dict(loss_cls=loss_cls, loss_mask=logits.sum(), loss_dice=logits.sum())
        with torch.no_grad():
            points = sample_uncertain(
                matched,
                labelled,
                self.num_points,
                self.oversample_ratio,
                self.importance_sample_ratio,
            )
            target = point_sample(torch.cat(targets).unsqueeze(1), points).squeeze(1)
        logits = point_sample(logits.unsqueeze(1), points).squeeze(1)
        return dict(
            loss_cls=loss_cls,
            loss_dice=self.loss_dice(logits, target, avg_factor=segments),
            loss_mask=self.loss_mask(
                logits.flatten(), target.flatten(), avg_factor=segments * self.num_points
            ),
        )

    @torch.no_grad()
    def _match(
        self,
        scores: Tensor,
        masks: Tensor,
        instances: InstanceData,
        meta: dict,
        labelled: Tensor,
    ):
        points = sample_labelled(labelled, 1, self.num_points)
        at_points = [
            point_sample(part.unsqueeze(1).float(), points.expand(len(part), -1, -1)).squeeze(1)
            for part in (masks, instances.masks)
        ]
        assigned = self.assigner.assign(
            pred_instances=InstanceData(scores=scores, masks=at_points[0]),
            gt_instances=InstanceData(labels=instances.labels, masks=at_points[1]),
            img_meta=meta,
        )
        return self.sampler.sample(
            assign_result=assigned,
            pred_instances=InstanceData(scores=scores, masks=masks),
            gt_instances=instances,
        )
