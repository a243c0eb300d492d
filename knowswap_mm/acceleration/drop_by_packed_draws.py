"""Dropout with four random numbers from one draw."""

from __future__ import annotations

import torch
from torch import Tensor

_STEPS = 2**16
_IN_A_DRAW = 4  # numbers of 16 bits in one of 64


def drop_by_packed_draws(x: Tensor, p: float) -> Tensor:
    r"""Set elements to zero with a probability, and scale the others by :math:`1 / (1 - p)`.

    torch's own dropout draws a number of 53 bits for each element, one after the other; on a CPU
    that is a third of a small classifier's step. Here torch's generator draws 64 bits for
    every four elements.

    Args:
        x (Tensor): Any shape, on the CPU.
        p (float): Probability, 0 < p < 1, kept to :math:`2^{-17}`.

    Returns:
        Tensor: Of the shape and type of ``x``.
    """
    count = x.numel()
    draws = torch.empty(-(-count // _IN_A_DRAW), dtype=torch.int64).random_(-(2**63), None)
    numbers = draws.view(torch.int16)[:count].view(x.shape)
    stays = numbers >= round(p * _STEPS) - _STEPS // 2
    return x * stays.to(x.dtype).mul_(1 / (1 - p))
