"""Swin's window attention in one kernel."""

from __future__ import annotations

from torch import nn

from knowswap_mm.acceleration.acceleration import Acceleration
from knowswap_mm.acceleration.exact_modules import exact_modules
from knowswap_mm.acceleration.fused_window_msa import FusedWindowMSA
from knowswap_mm.registry import ACCELERATIONS

#: Where the hosts have their ``WindowMSA``; they differ in names of arguments only.
_ATTENTIONS = (
    'mmpretrain.models.utils.attention.WindowMSA',
    'mmdet.models.backbones.swin.WindowMSA',
    'mmseg.models.backbones.swin.WindowMSA',
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
        found = exact_modules(host, *_ATTENTIONS)
        for module in found:
            FusedWindowMSA.adopt(module)
        return len(found)
