"""The random points of a Mask2Former head, in the order in which the host draws them."""

from __future__ import annotations

import torch
from torch import Tensor


class PointDraws:
    """Draws all points before the first layer is matched.

    The host draws for one layer after the other: points to match each image at, candidates of
    uncertain points, and points anywhere. How many there are does not depend on the matching.

    Args:
        sets (int): Layers.
        pictures (int): Images.
        pairs (int): Matched queries a layer.
        points (int): Points a mask.
        oversample (float): Candidates a point.
        uncertain_share (float): Share of the points that are the least certain candidates.
        device (torch.device): Where they are drawn.

    Attributes:
        uncertain (int): Points of a mask that are chosen from the candidates.
        matching (Tensor): ``(sets, pictures, points, 2)``.
        candidates (Tensor): ``(sets, pairs, candidates, 2)``.
        anywhere (Tensor): ``(sets, pairs, points - uncertain, 2)``.
    """

    def __init__(
        self,
        sets: int,
        pictures: int,
        pairs: int,
        points: int,
        oversample: float,
        uncertain_share: float,
        device: torch.device,
    ) -> None:
        self.uncertain = int(uncertain_share * points)
        self.matching = torch.empty(sets, pictures, points, 2, device=device)
        self.candidates = torch.empty(sets, pairs, int(points * oversample), 2, device=device)
        self.anywhere = torch.empty(sets, pairs, points - self.uncertain, 2, device=device)
        for number in range(sets):
            # One by one, because a generator's numbers depend on how many are drawn at a time.
            for picture in self.matching[number]:
                picture.uniform_()
            for drawn in (self.candidates[number], self.anywhere[number]):
                if drawn.numel():
                    drawn.uniform_()

    def choose(self, uncertainty: Tensor) -> Tensor:
        """Take the least certain candidates, and points anywhere.

        Args:
            uncertainty (Tensor): Of the candidates, ``(sets * pairs, candidates)``.

        Returns:
            Tensor: Points, ``(sets * pairs, points, 2)``.
        """
        best = uncertainty.topk(self.uncertain, dim=1).indices
        chosen = self.candidates.flatten(0, 1).gather(1, best.unsqueeze(-1).expand(-1, -1, 2))
        return torch.cat((chosen, self.anywhere.flatten(0, 1)), dim=1)
