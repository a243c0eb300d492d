"""Dropout with fewer draws on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from knowswap_mm.acceleration.acceleration import Acceleration, exact_modules
from knowswap_mm.registry import ACCELERATIONS

#: Places are counted in 32 bits.
MOST_ELEMENTS = 2**31
# Half of a 32-bit hash function with low bias, from the public domain (Wellons, "hash-prospector").
_FIRST, _SECOND = 0x7FEB352D, 0x846CA68B - 2**32
_HASH_STEPS = 2**24


def drop_by_hash(x: Tensor, p: float) -> Tensor:
    r"""Set elements to zero with a probability, and scale the others by :math:`1 / (1 - p)`.

    Two numbers are drawn a call, by torch's own generator; each element's place is hashed with
    them. A hash is a dozen operations on integers where torch's generator needs ten rounds of two
    wide products for each element, and the backward pass computes the mask again instead of
    reading it. Written for a compiler that makes one kernel of it and its neighbours.

    Args:
        x (Tensor): Any shape, fewer than :data:`MOST_ELEMENTS` elements.
        p (float): Probability, 0 < p < 1, kept to :math:`2^{-25}`.

    Returns:
        Tensor: Of the shape and type of ``x``.
    """
    seed = torch.randint(-(2**31), 2**31, (2,), dtype=torch.int32, device=x.device)
    return _DropByHash.apply(x, seed, p)


def kept(seed: Tensor, shape: torch.Size, p: float) -> Tensor:
    """Which elements stay: bool, of the shape of the result.

    Args:
        seed (Tensor): Two numbers, ``(2,)``, int32.
        shape (torch.Size): Of the result.
        p (float): Probability of being dropped.
    """
    bits = torch.arange(shape.numel(), dtype=torch.int32, device=seed.device) ^ seed[0]
    bits = (bits ^ _shifted(bits, 16)) * _FIRST
    # With the first number alone, another seed would only reorder the mask.
    bits = bits + seed[1]
    bits = (bits ^ _shifted(bits, 15)) * _SECOND
    bits = bits ^ _shifted(bits, 16)
    return ((bits & (_HASH_STEPS - 1)) >= round(p * _HASH_STEPS)).view(shape)


def _shifted(bits: Tensor, count: int) -> Tensor:
    """Bits moved to the right, filled up with zeros; torch's own shift repeats the sign."""
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


class _Dropout(nn.Module):
    """Mixin of ``nn.Dropout`` that drops in a way of its own where it can; else it is as it was."""

    def forward(self, x: Tensor) -> Tensor:
        """Drop elements of a tensor of any shape."""
        drops = self.training and 0 < self.p < 1 and self.can_drop(x)
        return self.drop(x, self.p) if drops else super().forward(x)


class HashedDropoutModule(_Dropout):
    """In compiled code the mask is a hash of places."""

    drop = staticmethod(drop_by_hash)

    @staticmethod
    def can_drop(x: Tensor) -> bool:
        """Whether places can be counted, in compiled code."""
        return x.numel() < MOST_ELEMENTS and torch.compiler.is_compiling()


_PACKED_STEPS = 2**16
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
    # In floats, which have all the numbers and are compared and stored faster than truth values are
    # turned into floats.
    wide = torch.promote_types(x.dtype, torch.float32)
    stays = numbers.to(wide).ge_(round(p * _PACKED_STEPS) - _PACKED_STEPS // 2)
    return x * stays.mul_(1 / (1 - p)).to(x.dtype)


class PackedDropoutModule(_Dropout):
    """On a CPU, one draw decides about four elements; not in compiled code."""

    drop = staticmethod(drop_by_packed_draws)

    @staticmethod
    def can_drop(x: Tensor) -> bool:
        """Whether it is on a CPU, in ordinary code."""
        return x.device.type == 'cpu' and not torch.compiler.is_compiling()


_DROPOUTS = ('torch.nn.modules.dropout.Dropout', 'mmcv.cnn.bricks.drop.Dropout')


class DropoutAcceleration(Acceleration):
    """Base of those that mix a class into the host's dropouts."""

    def find(self, host: nn.Module) -> list[nn.Module]:
        """The dropouts; those in place stay as they are."""
        return [module for module in exact_modules(host, *_DROPOUTS) if not module.inplace]


@ACCELERATIONS.register_module()
class HashedDropout(DropoutAcceleration):
    """Makes dropouts :class:`HashedDropoutModule`, which differ inside :class:`CompiledBlocks`.

    Elements are dropped with the same probability, but others than torch would drop.
    """

    mixin = HashedDropoutModule


@ACCELERATIONS.register_module()
class PackedDropout(DropoutAcceleration):
    """Makes dropouts :class:`PackedDropoutModule`, which differ on a CPU.

    Elements are dropped with the same probability, but others than torch would drop.
    """

    mixin = PackedDropoutModule
