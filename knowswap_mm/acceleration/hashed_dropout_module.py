"""A dropout whose random numbers cost next to nothing in compiled code."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from knowswap_mm.acceleration.drop_by_hash import MOST_ELEMENTS, drop_by_hash


class HashedDropoutModule(nn.Module):
    """Mixin of ``nn.Dropout``: in compiled code the mask is a hash of places.

    Elsewhere, and without training, it is the dropout that it was.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Drop elements.

        Args:
            x (Tensor): Any shape.

        Returns:
            Tensor: Of that shape.
        """
        drops = self.training and 0 < self.p < 1 and x.numel() < MOST_ELEMENTS
        if drops and torch.compiler.is_compiling():
            return drop_by_hash(x, self.p)
        return super().forward(x)
