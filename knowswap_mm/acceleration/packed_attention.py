"""ViT's attention without copies of queries, keys and values."""

from __future__ import annotations

from torch import nn

from knowswap_mm.acceleration.acceleration import Acceleration
from knowswap_mm.acceleration.exact_modules import exact_modules
from knowswap_mm.acceleration.mixed_class import mixed_class
from knowswap_mm.acceleration.packed_multihead_attention import PackedMultiheadAttention
from knowswap_mm.registry import ACCELERATIONS

_ATTENTION = 'mmpretrain.models.utils.attention.MultiheadAttention'


@ACCELERATIONS.register_module()
class PackedAttention(Acceleration):
    """Makes mmpretrain's attentions :class:`PackedMultiheadAttention`; the numbers are the same."""

    def apply(self, host: nn.Module) -> int:
        """Change the class of the host's attentions.

        Args:
            host (nn.Module): The host with its adapters.

        Returns:
            int: Attentions that were changed; subclasses of the hosts stay as they are.
        """
        found = exact_modules(host, _ATTENTION)
        for module in found:
            module.__class__ = mixed_class(PackedMultiheadAttention, type(module))
        return len(found)
