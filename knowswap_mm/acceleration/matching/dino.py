"""mmdet's DINO head with batched losses."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from mmdet.models.dense_heads import DeformableDETRHead, DINOHead
from mmengine.structures import InstanceData
from torch import Tensor

from knowswap_mm.acceleration.matching.box_losses import BatchedBoxLosses, BoxObjects, name_terms


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
        """Losses of all layers and of the proposals at all places, named as the host names them."""
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
            images, queries = scores.shape[1:3]
            matched = sum(min(count, queries) for count in objects.counts)
            found.append((matched, images * queries - matched))
        normalisers = self.normalisers(found, all_layers_cls_scores)
        matches = [self.end_match(cost, objects) for cost in costs]
        self.tell_pairs(*matches[0], objects.labels, all_layers_cls_scores.shape[2])
        terms = [
            self.set_losses(*part[:2], *match, part[2], normaliser)
            for part, match, normaliser in zip(parts, matches, normalisers, strict=True)
        ]
        losses = name_terms(terms[0])
        return losses | (name_terms(terms[1], 'enc_') if len(terms) > 1 else {})


class BatchedDINOHead(BatchedBoxLosses, DINOHead):
    """``DINOHead`` that waits for the device once.

    Decoder layers and encoder proposals are matched together; the denoising losses, which need no
    matching, are launched while the costs travel. It has no state of its own: a ``DINOHead``
    becomes one by a change of its class.
    """

    def loss_by_feat(
        self,
        all_layers_cls_scores: Tensor,
        all_layers_bbox_preds: Tensor,
        enc_cls_scores: Tensor | None,
        enc_bbox_preds: Tensor | None,
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict],
        dn_meta: dict[str, int],
        batch_gt_instances_ignore: Any = None,
    ) -> dict[str, Tensor]:
        """Losses of all layers, of the proposals and of denoising, named as the host names them.

        Of the queries the denoising ones come first; the proposals are the chosen ones.
        """
        scores, boxes, dn_scores, dn_boxes = self.split_outputs(
            all_layers_cls_scores, all_layers_bbox_preds, dn_meta
        )
        layers, with_encoder = len(scores), enc_cls_scores is not None
        if (
            batch_gt_instances_ignore is not None
            or not BoxObjects.fits(batch_gt_instances)
            or (with_encoder and enc_cls_scores.shape != scores.shape[1:])
        ):
            return super().loss_by_feat(
                all_layers_cls_scores,
                all_layers_bbox_preds,
                enc_cls_scores,
                enc_bbox_preds,
                batch_gt_instances,
                batch_img_metas,
                dn_meta,
                batch_gt_instances_ignore,
            )
        if with_encoder:
            scores = torch.cat((scores, enc_cls_scores[None]))
            boxes = torch.cat((boxes, enc_bbox_preds[None]))
        counts = [len(instances.labels) for instances in batch_gt_instances]
        pairs = denoising_pairs(counts, dn_meta)
        objects = BoxObjects(batch_gt_instances, batch_img_metas, [pairs])
        costs = self.begin_match(scores, boxes, objects)

        images, queries = scores.shape[1:3]
        matched = sum(min(count, queries) for count in counts)
        found = (matched, images * queries - matched), (pairs.shape[1], pairs.shape[1])
        by_match, by_denoising = self.normalisers(found, scores)
        noisy, clean = objects.more[0].unsqueeze(1).expand(-1, len(dn_scores), -1)
        dn_terms = self.set_losses(dn_scores, dn_boxes, noisy, clean, objects, by_denoising)
        pairs = self.end_match(costs, objects)
        self.tell_pairs(*pairs, objects.labels, queries)
        terms = self.set_losses(scores, boxes, *pairs, objects, by_match)
        losses = name_terms(terms[:layers])
        if with_encoder:
            losses |= name_terms(terms[layers:], 'enc_')
        return losses | name_terms(dn_terms, 'dn_')


def denoising_pairs(counts: list[int], dn_meta: dict[str, int]) -> np.ndarray:
    """Which denoising query is to become which object.

    A group has room for the objects of the fullest image twice: with little noise, which are to
    be found, and with much, which are not.

    Args:
        counts (list[int]): Objects of each image.
        dn_meta (dict[str, int]): Numbers of denoising queries and groups.

    Returns:
        np.ndarray: Queries, numbered through all images, and objects, int64, ``(2, pairs)``.
    """
    total, groups = dn_meta['num_denoising_queries'], dn_meta['num_denoising_groups']
    within = np.concatenate([np.arange(count) for count in counts])
    first_group = np.repeat(np.arange(len(counts)) * total, counts) + within
    queries = first_group + np.arange(groups)[:, None] * (total // groups)
    objects = np.broadcast_to(np.arange(sum(counts)), queries.shape)
    return np.stack((queries, objects)).reshape(2, -1).astype(np.int64)
