"""A module whose output has the type of autocast."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class AutocastOutput(nn.Module):
    """Mixin: in training under autocast, the output is cast to its type."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Compute what the module computes.

        Args:
            x (Tensor): Input.
            *args: As for the module.
            **kwargs: Likewise.

        Returns:
            Tensor: Output.
        """
        out = super().forward(x, *args, **kwargs)
        kind = x.device.type
        if self.training and torch.is_autocast_enabled(kind):
            out = out.to(torch.get_autocast_dtype(kind))
        return out
