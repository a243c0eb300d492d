"""mmdet's Deformable DETR head with batched losses."""

from __future__ import annotations

import copy
from typing import Any

import torch
from mmdet.models.dense_heads import DeformableDETRHead
from mmengine.structures import InstanceData
from torch import Tensor

from knowswap_mm.acceleration.matching.batched_box_losses import BatchedBoxLosses, name_terms
from knowswap_mm.acceleration.matching.box_objects import BoxObjects


class BatchedDeformableDETRHead(BatchedBoxLosses, DeformableDETRHead):
    """``DeformableDETRHead`` that waits for the device once, or twice with two stages.

    It has no state of its own: a ``DeformableDETRHead`` becomes one by a change of its class.
    """

    def loss_by_feat(
        self,
        all_layers_cls_scores: Tensor,
        all_layers_bbox_preds: Tensor,
        enc_cls_scores: Tensor | None,
        enc_bbox_preds: Tensor | None,
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: Any = None,
    ) -> dict[str, Tensor]:
        """Losses of all layers and of the proposals, named as the host names them.

        Args:
            all_layers_cls_scores (Tensor): ``(layers, N, queries, classes)``.
            all_layers_bbox_preds (Tensor): ``(layers, N, queries, 4)``.
            enc_cls_scores (Tensor | None): Of all places, ``(N, places, classes)``.
            enc_bbox_preds (Tensor | None): Likewise, ``(N, places, 4)``.
            batch_gt_instances (list[InstanceData]): Objects of each picture.
            batch_img_metas (list[dict]): Meta information of each picture.
            batch_gt_instances_ignore: What the host refuses, too.

        Returns:
            dict[str, Tensor]: The losses.
        """
        if batch_gt_instances_ignore is not None or not BoxObjects.fits(batch_gt_instances):
            return super().loss_by_feat(
                all_layers_cls_scores,
                all_layers_bbox_preds,
                enc_cls_scores,
                enc_bbox_preds,
                batch_gt_instances,
                batch_img_metas,
                batch_gt_instances_ignore,
            )
        objects = BoxObjects(batch_gt_instances, batch_img_metas)
        parts = [(all_layers_cls_scores, all_layers_bbox_preds, objects)]
        if enc_cls_scores is not None:
            # A proposal is an object of class 0 or none.
            unnamed = copy.copy(objects)
            unnamed.labels = torch.zeros_like(objects.labels)
            parts.append((enc_cls_scores[None], enc_bbox_preds[None], unnamed))
        costs = [self.begin_match(*part) for part in parts]
        found = []
        for scores, _, _ in parts:
            pictures, queries = scores.shape[1:3]
            matched = sum(min(count, queries) for count in objects.counts)
            found.append((matched, pictures * queries - matched))
        normalisers = self.normalisers(found, all_layers_cls_scores)
        terms = [
            self.set_losses(*part[:2], *self.end_match(cost, objects), part[2], normaliser)
            for part, cost, normaliser in zip(parts, costs, normalisers, strict=True)
        ]
        last_first = [terms[0][-1], *terms[0][:-1]]
        prefixes = ['', *(f'd{number}.' for number in range(len(last_first) - 1))]
        losses = name_terms(prefixes, last_first)
        return losses | name_terms([''] * (len(terms) - 1), [part[0] for part in terms[1:]], 'enc_')
