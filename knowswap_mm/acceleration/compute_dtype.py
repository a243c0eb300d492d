"""The type in which a matrix product is computed."""

from __future__ import annotations

import torch
from torch import Tensor

# Autocast leaves double precision alone.
_CAST = (torch.float32, torch.float16, torch.bfloat16)


def compute_dtype(x: Tensor, weight: Tensor) -> torch.dtype | None:
    """Tell in which type torch multiplies an input with a weight.

    Args:
        x (Tensor): The input.
        weight (Tensor): The weight.

    Returns:
        torch.dtype | None: Autocast's type where it is enabled, else the type that both have; None
        if they differ.
    """
    device = x.device.type
    if torch.is_autocast_enabled(device) and x.dtype in _CAST and weight.dtype in _CAST:
        return torch.get_autocast_dtype(device)
    return x.dtype if x.dtype == weight.dtype else None
