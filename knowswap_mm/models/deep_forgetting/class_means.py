"""Which kept class a sample lies nearest to, in the features of a teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor


class ClassMeans:
    """Sums of directions of kept samples by class, at all places in the network that are matched.

    Processes have the same sums: each gets what all of them saw.

    Args:
        places (int): Number of places, ``P``.
        classes (int): Number of classes.
        width (int): Channels of a feature, ``D``.
        device (torch.device): Where they lie.
    """

    def __init__(self, places: int, classes: int, width: int, device: torch.device) -> None:
        self.sums = torch.zeros(places, classes, width, device=device)
        self.counts = torch.zeros(places, classes, device=device)

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Add features ``(P, N, D)`` of classes ``(P, N)``, -1 for none; in all processes."""
        unit = F.normalize(features.detach().float(), dim=-1)
        own = F.one_hot(labels.clamp(min=0), self.counts.shape[1]) * (labels >= 0)[..., None]
        sums, counts = own.to(unit).mT @ unit, own.sum(1).to(unit)
        if get_world_size() > 1:
            all_reduce(sums)
            all_reduce(counts)
        self.sums, self.counts = self.sums + sums, self.counts + counts

    def nearest(self, features: Tensor, excluded: Tensor) -> tuple[Tensor, Tensor]:
        """Which class has the mean of the nearest direction, among those that were seen.

        Args:
            features (Tensor): ``(P, N, D)``.
            excluded (Tensor): Classes that do not count, int64.

        Returns:
            tuple[Tensor, Tensor]: Shares of classes, ``(P, N, classes)``: 1 for one of them, zeros
            if none was seen; and the cosine to its mean, ``(P, N)``.
        """
        cosines = F.normalize(features.float(), dim=-1) @ F.normalize(self.sums, dim=-1).mT
        seen = (self.counts > 0).index_fill(1, excluded, False)[:, None]
        closeness, best = cosines.masked_fill(~seen, float('-inf')).max(-1)
        return F.one_hot(best, seen.shape[-1]) * seen.any(-1)[..., None].float(), closeness

    def to_list(self) -> list[dict[str, Tensor]]:
        """Plain data for a checkpoint, place by place."""
        pairs = zip(self.sums.cpu(), self.counts.cpu(), strict=True)
        return [dict(sums=sums, counts=counts) for sums, counts in pairs]

    @classmethod
    def from_list(cls, data: Sequence[Mapping[str, Tensor]], device: torch.device) -> ClassMeans:
        """Read what :meth:`to_list` gave."""
        sums = torch.stack([each['sums'] for each in data])
        means = cls(*sums.shape, device)
        means.sums = sums.to(device)
        means.counts = torch.stack([each['counts'] for each in data]).to(device)
        return means
