"""mmdet's Mask2Former head with batched losses."""

from __future__ import annotations

from mmdet.models.dense_heads import Mask2FormerHead

from knowswap_mm.acceleration.matching.batched_mask_losses import BatchedMaskLosses


class BatchedMask2FormerHead(BatchedMaskLosses, Mask2FormerHead):
    """mmdet's ``Mask2FormerHead`` that waits for the device once.

    It has no state of its own: a ``Mask2FormerHead`` becomes one by a change of its class.
    """
