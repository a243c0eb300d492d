"""A memory of features of what is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, get_world_size
from torch import Tensor


class FeatureQueue:
    """The newest features of all places in the network that are matched, with their classes.

    Processes have the same entries: each gets what all of them saw.

    Args:
        places (int): Number of places, ``P``.
        size (int): Entries of a place at most; the oldest are overwritten.
        width (int): Channels of a feature, ``D``.
        device (torch.device): Where it lies.
    """

    def __init__(self, places: int, size: int, width: int, device: torch.device) -> None:
        self.features = torch.zeros(places, size, width, device=device)
        self.labels = torch.full((places, size), -1, device=device)
        self.next = 0

    def push(self, features: Tensor, labels: Tensor) -> None:
        """Add directions of features ``(P, N, D)`` with their classes ``(P, N)``, -1 for none.

        In all processes.
        """
        unit = F.normalize(features.detach().float(), dim=-1)
        unit, labels = (gathered(each.transpose(0, 1)).transpose(0, 1) for each in (unit, labels))
        size = self.labels.shape[1]
        unit, labels = unit[:, -size:], labels[:, -size:]
        count = labels.shape[1]
        entries = (torch.arange(count, device=labels.device) + self.next) % size
        # Not in place: the graph of the present batch may hang on the entries.
        self.features = self.features.index_copy(1, entries, unit)
        self.labels = self.labels.index_copy(1, entries, labels)
        self.next = (self.next + count) % size

    def to_list(self) -> list[dict[str, Any]]:
        """Plain data for a checkpoint, place by place."""
        pairs = zip(self.features.cpu(), self.labels.cpu(), strict=True)
        return [dict(features=each, labels=labels, next=self.next) for each, labels in pairs]

    @classmethod
    def from_list(cls, data: Sequence[Mapping[str, Any]], device: torch.device) -> FeatureQueue:
        """Read what :meth:`to_list` gave."""
        features = torch.stack([each['features'] for each in data])
        queue = cls(*features.shape, device)
        queue.features = features.to(device)
        queue.labels = torch.stack([each['labels'] for each in data]).to(device)
        queue.next = int(data[0]['next'])
        return queue


def gathered(rows: Tensor) -> Tensor:
    """The rows ``(N, ...)`` of all processes, which may have different numbers of them."""
    rows = rows.contiguous()
    if get_world_size() == 1:
        return rows
    counts = [int(each) for each in all_gather(torch.tensor([len(rows)], device=rows.device))]
    padded = rows.new_zeros(max(counts), *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = all_gather(padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])
