"""mmseg's Mask2Former head with batched losses."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.structures import InstanceData
from mmseg.models.decode_heads import Mask2FormerHead

from knowswap_mm.acceleration.matching.assignment import CPUCopy, send
from knowswap_mm.acceleration.matching.mask_losses import BatchedMaskLosses
from knowswap_mm.compat import OpenMask2FormerHead


class BatchedSemanticMask2FormerHead(BatchedMaskLosses, OpenMask2FormerHead, Mask2FormerHead):
    """mmseg's ``Mask2FormerHead`` that waits for the device twice.

    Once for the classes that are in the maps, and once for the costs. It has no state of its own: a
    ``Mask2FormerHead`` becomes one by a change of its class.
    """

    def segments_of(self, samples: list[Any]) -> tuple[list[InstanceData], list[dict]]:
        """Make a segment of each class of a map.

        By image, the segments have ``labels`` in ascending order and ``masks``, bool; beside them
        stand the images' meta information.
        """
        maps = [sample.gt_sem_seg.data for sample in samples]
        if self.ignore_index < 0 or len({each.shape for each in maps}) > 1 or len(maps[0]) != 1:
            return super().segments_of(samples)
        maps = torch.cat(maps)
        size = max(self.num_classes, self.ignore_index + 1)
        present = torch.zeros(len(maps), size, dtype=torch.bool, device=maps.device)
        present.scatter_(1, maps.flatten(1).long(), True)
        found = CPUCopy(present).wait().copy()
        found[:, self.ignore_index] = False
        image, labels = send(found.nonzero(), maps.device)
        labels = labels.to(maps.dtype)
        masks = maps[image] == labels[:, None, None]
        counts = found.sum(1).tolist()
        parts = zip(labels.split(counts), masks.split(counts), strict=True)
        instances = [InstanceData(labels=label, masks=mask) for label, mask in parts]
        return instances, [sample.metainfo for sample in samples]
