"""Dropout by a hash."""

from __future__ import annotations

import torch
from torch import Tensor

#: Places are counted in 32 bits.
MOST_ELEMENTS = 2**31
# Half of a 32-bit hash function with low bias, from the public domain (Wellons, "hash-prospector").
_FIRST, _SECOND = 0x7FEB352D, 0x846CA68B - 2**32
_STEPS = 2**24


def drop_by_hash(x: Tensor, p: float) -> Tensor:
    r"""Set elements to zero with a probability, and scale the others by :math:`1 / (1 - p)`.

    Two numbers are drawn a call, by torch's own generator; each element's place is hashed with
    them. A hash is a dozen operations on integers where torch's generator needs ten rounds of two
    wide products for each element, and the backward pass makes the mask anew instead of reading it.
    Written for a compiler that makes one kernel of it and its neighbours.

    Args:
        x (Tensor): Any shape, fewer than :data:`MOST_ELEMENTS` elements.
        p (float): Probability, 0 < p < 1, kept to :math:`2^{-25}`.

    Returns:
        Tensor: Of the shape and type of ``x``.
    """
    seed = torch.randint(-(2**31), 2**31, (2,), dtype=torch.int32, device=x.device)
    return _DropByHash.apply(x, seed, p)


def kept(seed: Tensor, shape: torch.Size, p: float) -> Tensor:
    """Which elements stay.

    Args:
        seed (Tensor): Two numbers, ``(2,)``, int32.
        shape (torch.Size): Of the result.
        p (float): Probability of being dropped.

    Returns:
        Tensor: bool.
    """
    bits = torch.arange(shape.numel(), dtype=torch.int32, device=seed.device) ^ seed[0]
    bits = (bits ^ _shifted(bits, 16)) * _FIRST
    # With the first number alone, another seed would only reorder the mask.
    bits = bits + seed[1]
    bits = (bits ^ _shifted(bits, 15)) * _SECOND
    bits = bits ^ _shifted(bits, 16)
    return ((bits & (_STEPS - 1)) >= round(p * _STEPS)).view(shape)


def _shifted(bits: Tensor, count: int) -> Tensor:
    """Bits moved to the right, zeros behind them; torch's own shift repeats the sign."""
    return (bits >> count) & (2 ** (32 - count) - 1)


class _DropByHash(torch.autograd.Function):
    """Keeps the seed, not the mask."""

    @staticmethod
    def forward(ctx: object, x: Tensor, seed: Tensor, p: float) -> Tensor:
        ctx.save_for_backward(seed)
        ctx.p = p
        return torch.where(kept(seed, x.shape, p), x * (1 / (1 - p)), 0)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None, None]:
        (seed,) = ctx.saved_tensors
        scaled = gradient * (1 / (1 - ctx.p))
        return torch.where(kept(seed, gradient.shape, ctx.p), scaled, 0), None, None
