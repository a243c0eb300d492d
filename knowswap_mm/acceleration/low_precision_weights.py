"""A frozen layer that keeps a copy of its weights in the type of autocast."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from knowswap_mm.acceleration.compute_dtype import compute_dtype
from knowswap_mm.acceleration.keeps_frozen import KeepsFrozen, may_keep


class LowPrecisionWeights(KeepsFrozen):
    """Mixin of linears and convolutions: frozen weights are cast for autocast once, not every time.

    Autocast itself keeps casts of weights that train only. The parameters stay as they are, and so
    does everything that is saved. Outside of autocast, and where a weight trains, the layer's own
    forward runs.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Compute the layer.

        Args:
            x (Tensor): Its input.
        """
        dtype = compute_dtype(x, self.weight)
        if dtype in (None, self.weight.dtype) or not may_keep(self.weight, self.bias):
            return super().forward(x)
        weight, bias = self.weights_in(dtype)
        if isinstance(self, nn.Conv2d):
            return self._conv_forward(x, weight, bias)
        return F.linear(x, weight, bias)

    def weights_in(self, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """Weight and bias in another type; kept, if they are frozen.

        Args:
            dtype (torch.dtype): The type.
        """
        weight, bias = self.weight, self.bias

        def cast() -> tuple[Tensor, Tensor | None]:
            return weight.to(dtype), None if bias is None else bias.to(dtype)

        if weight.dtype == dtype or not may_keep(weight, bias):
            return cast()
        tensors = (weight,) if bias is None else (weight, bias)
        return self._frozen_cache.get(tensors, dtype, cast)
