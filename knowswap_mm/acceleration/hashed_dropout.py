"""Dropout with cheap random numbers in compiled blocks."""

from __future__ import annotations

from knowswap_mm.acceleration.dropout_acceleration import DropoutAcceleration
from knowswap_mm.acceleration.hashed_dropout_module import HashedDropoutModule
from knowswap_mm.registry import ACCELERATIONS


@ACCELERATIONS.register_module()
class HashedDropout(DropoutAcceleration):
    """Makes dropouts :class:`HashedDropoutModule`, which differ inside :class:`CompiledBlocks`.

    Elements are dropped with the same probability, but others than torch would drop.
    """

    mixin = HashedDropoutModule
