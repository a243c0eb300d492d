"""Dropout with fewer draws on a CPU."""

from __future__ import annotations

from knowswap_mm.acceleration.dropout_acceleration import DropoutAcceleration
from knowswap_mm.acceleration.packed_dropout_module import PackedDropoutModule
from knowswap_mm.registry import ACCELERATIONS


@ACCELERATIONS.register_module()
class PackedDropout(DropoutAcceleration):
    """Makes dropouts :class:`PackedDropoutModule`, which differ on a CPU.

    Elements are dropped with the same probability, but others than torch would drop.
    """

    mixin = PackedDropoutModule
