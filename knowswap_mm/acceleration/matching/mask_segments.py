"""Annotated masks of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmcv.ops import point_sample
from mmengine.structures import InstanceData
from torch import Tensor

from knowswap_mm.acceleration.matching.device_numbers import send


class MaskSegments:
    """The segments of all pictures, end to end, on the device.

    Args:
        instances (Sequence[InstanceData]): Segments by picture: ``masks`` ``(n, H, W)`` of one
            size, and ``labels`` ``(n,)``.

    Attributes:
        counts (list[int]): Segments of each picture.
        labels (Tensor): Class of each segment, ``(segments,)``.
        masks (Tensor): Their masks, ``(segments, 1, H, W)``, float.
        picture (Tensor): Number of the picture of each, ``(segments,)``.
        place (Tensor): Number of each within its picture, ``(segments,)``.
    """

    def __init__(self, instances: Sequence[InstanceData]) -> None:
        self.counts = [len(each.labels) for each in instances]
        self.labels = torch.cat([each.labels for each in instances]).long()
        self.masks = torch.cat([each.masks for each in instances]).float().unsqueeze(1)
        numbers = np.repeat(np.arange(len(self.counts)), self.counts)
        places = np.concatenate([np.arange(count) for count in self.counts])
        self.picture, self.place = send([numbers, places.astype(np.int64)], self.masks.device)

    def __len__(self) -> int:
        return sum(self.counts)

    @staticmethod
    def fits(instances: Sequence[InstanceData]) -> bool:
        """Whether all masks are tensors of one size."""
        return all(type(each.masks) is Tensor for each in instances) and (
            len({each.masks.shape[1:] for each in instances}) == 1
        )

    def by_picture(self, values: Tensor) -> Tensor:
        """Put values of the segments into a table of pictures.

        Args:
            values (Tensor): ``(segments, ...)``.

        Returns:
            Tensor: ``(N, most segments, ...)``, zero where a picture has fewer.
        """
        table = values.new_zeros((len(self.counts), max(self.counts), *values.shape[1:]))
        table[self.picture, self.place] = values
        return table

    def sample(self, points: Tensor) -> Tensor:
        """Read each mask at points of its own.

        Args:
            points (Tensor): x and y in [0, 1], ``(segments, sets, points, 2)``.

        Returns:
            Tensor: Values, ``(segments, sets, points)``.
        """
        return point_sample(self.masks, points).squeeze(1)
