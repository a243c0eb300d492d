"""Annotated boxes of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmdet.structures.bbox import bbox_xyxy_to_cxcywh
from mmengine.structures import InstanceData
from torch import Tensor

from knowswap_mm.acceleration.matching.device_numbers import send


class BoxObjects:
    """The objects of all pictures, end to end, on the device.

    Args:
        instances (Sequence[InstanceData]): Objects by picture: ``bboxes`` ``(n, 4)``, corners in
            pixels, and ``labels`` ``(n,)``.
        metas (Sequence[dict]): Meta information by picture, of which ``img_shape`` counts.
        more (Sequence[np.ndarray]): Further whole numbers that are to travel along.

    Attributes:
        counts (list[int]): Objects of each picture.
        sizes (Tensor): Width, height, width, height of each picture, ``(N, 4)``.
        picture (Tensor): Number of the picture of each object, ``(objects,)``.
        labels (Tensor): Class of each, ``(objects,)``.
        corners (Tensor): Their corners in pixels, ``(objects, 4)``.
        targets (Tensor): Centre, width and height as shares of their picture, ``(objects, 4)``.
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
        sizes, self.picture, *self.more = send(arrays, self.corners.device)
        self.sizes = sizes.to(self.corners.dtype)
        self.targets = bbox_xyxy_to_cxcywh(self.corners / self.sizes[self.picture])

    def __len__(self) -> int:
        return sum(self.counts)

    @staticmethod
    def fits(instances: Sequence[InstanceData]) -> bool:
        """Whether boxes are plain tensors; hosts have other kinds, too."""
        return all(type(each.bboxes) is Tensor for each in instances)
