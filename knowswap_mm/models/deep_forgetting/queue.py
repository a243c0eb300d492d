"""A memory of features of what is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, get_world_size
from torch import Tensor


class FeatureQueue:
    """The newest features of one place in the network, with their classes.

    Processes have the same entries: each gets what all of them saw.

    Args:
        size (int): Entries at most; the oldest are overwritten.
        width (int): Channels of a feature.
        device (torch.device): Where it lies.
    """

    def __init__(self, size: int, width: int, device: torch.device) -> None:
        self.features = torch.zeros(size, width, device=device)
        self.labels = torch.full((size,), -1, device=device)
        self.next = 0

    def push(self, features: Tensor, labels: Tensor) -> None:
        """Add features ``(N, D)``, as directions, with their classes ``(N,)``; in all processes."""
        features, labels = gathered(F.normalize(features.detach().float(), dim=1)), gathered(labels)
        size = len(self.labels)
        features, labels = features[-size:], labels[-size:]
        places = (torch.arange(len(labels), device=labels.device) + self.next) % size
        # Not in place: the graph of the present batch may hang on the entries.
        self.features = self.features.index_copy(0, places, features)
        self.labels = self.labels.index_copy(0, places, labels)
        self.next = (self.next + len(labels)) % size

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        return dict(features=self.features.cpu(), labels=self.labels.cpu(), next=self.next)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], device: torch.device) -> FeatureQueue:
        """Read what :meth:`to_dict` gave."""
        features = data['features'].to(device)
        queue = cls(*features.shape, device)
        queue.features, queue.labels = features, data['labels'].to(device)
        queue.next = int(data['next'])
        return queue


def gathered(rows: Tensor) -> Tensor:
    """The rows ``(N, ...)`` of all processes, which may have different numbers of them."""
    if get_world_size() == 1:
        return rows
    counts = [int(each) for each in all_gather(torch.tensor([len(rows)], device=rows.device))]
    padded = rows.new_zeros(max(counts), *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = all_gather(padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])
