"""Swin's window attention in one kernel."""

from __future__ import annotations

from torch import nn

from knowswap_mm.acceleration.acceleration import Acceleration
from knowswap_mm.acceleration.fused_window_msa import FusedWindowMSA
from knowswap_mm.registry import ACCELERATIONS

#: Where the hosts have their ``WindowMSA``; they differ in names of arguments only.
_HOMES = (
    'mmpretrain.models.utils.attention',
    'mmdet.models.backbones.swin',
    'mmseg.models.backbones.swin',
)


@ACCELERATIONS.register_module()
class FusedWindowAttention(Acceleration):
    """Makes the window attentions of Swin transformers :class:`FusedWindowMSA`.

    In fp32 the numbers differ by the order of sums. Under autocast the bias is rounded to half
    precision, where the hosts round the products of queries and keys. The cosine attention of
    Swin v2 and subclasses of the hosts stay as they are.
    """

    def apply(self, host: nn.Module) -> int:
        """Change the class of the host's window attentions.

        Args:
            host (nn.Module): The host with its adapters.

        Returns:
            int: Attentions that were changed.
        """
        kinds = {(home, 'WindowMSA') for home in _HOMES}
        found = [m for m in host.modules() if (type(m).__module__, type(m).__name__) in kinds]
        for module in found:
            FusedWindowMSA.adopt(module)
        return len(found)
