"""Which kept class a sample lies nearest to, in the features of a teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor


class ClassMeans:
    """Sums of directions of kept samples by class, at one place in the network.

    Processes have the same sums: each gets what all of them saw.

    Args:
        classes (int): Number of classes.
        width (int): Channels of a feature.
        device (torch.device): Where they lie.
    """

    def __init__(self, classes: int, width: int, device: torch.device) -> None:
        self.sums = torch.zeros(classes, width, device=device)
        self.counts = torch.zeros(classes, device=device)

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Add features ``(N, D)`` of classes ``(N,)``; in all processes."""
        unit = F.normalize(features.detach().float(), dim=1)
        sums = torch.zeros_like(self.sums).index_add(0, labels, unit)
        counts = torch.zeros_like(self.counts).index_add(0, labels, torch.ones_like(unit[:, 0]))
        if get_world_size() > 1:
            all_reduce(sums)
            all_reduce(counts)
        self.sums, self.counts = self.sums + sums, self.counts + counts

    def nearest(self, features: Tensor, excluded: Tensor) -> tuple[Tensor, Tensor]:
        """Which class has the mean of the nearest direction, among those that were seen.

        Args:
            features (Tensor): ``(N, D)``.
            excluded (Tensor): Classes that do not count, int64.

        Returns:
            tuple[Tensor, Tensor]: Shares of classes, ``(N, classes)``: 1 for one of them, zeros if
            none was seen; and the cosine to its mean, ``(N,)``.
        """
        cosines = F.normalize(features.float(), dim=1) @ F.normalize(self.sums, dim=1).T
        seen = (self.counts > 0).index_fill(0, excluded, False)
        closeness, best = cosines.masked_fill(~seen, float('-inf')).max(1)
        return F.one_hot(best, len(seen)).float() * seen.any(), closeness

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        return dict(sums=self.sums.cpu(), counts=self.counts.cpu())

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], device: torch.device) -> ClassMeans:
        """Read what :meth:`to_dict` gave."""
        means = cls(*data['sums'].shape, device)
        means.sums, means.counts = data['sums'].to(device), data['counts'].to(device)
        return means
