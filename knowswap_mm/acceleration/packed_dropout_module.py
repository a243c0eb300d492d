"""A dropout that draws a quarter of the random numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from knowswap_mm.acceleration.drop_by_packed_draws import drop_by_packed_draws


class PackedDropoutModule(nn.Module):
    """Mixin of ``nn.Dropout``: on a CPU, one draw decides about four elements.

    On other devices, in compiled code and without training, it is the dropout that it was.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Drop elements.

        Args:
            x (Tensor): Any shape.

        Returns:
            Tensor: Of that shape.
        """
        drops = self.training and 0 < self.p < 1 and x.device.type == 'cpu'
        if drops and not torch.compiler.is_compiling():
            return drop_by_packed_draws(x, self.p)
        return super().forward(x)
