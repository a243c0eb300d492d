"""The sum of a ViT's blocks in the type of autocast."""

from __future__ import annotations

from torch import nn

from knowswap_mm.acceleration.acceleration import Acceleration
from knowswap_mm.acceleration.autocast_output import AutocastOutput
from knowswap_mm.acceleration.exact_modules import exact_modules
from knowswap_mm.acceleration.mixed_class import mixed_class
from knowswap_mm.registry import ACCELERATIONS

_BACKBONE = 'mmpretrain.models.backbones.vision_transformer.VisionTransformer'


@ACCELERATIONS.register_module()
class HalfResiduals(Acceleration):
    """Makes what enters the blocks of a ViT an :class:`AutocastOutput`.

    Under autocast the branches of a block are computed in half precision, but what they are added
    to stays fp32, because the embedding of positions is; it is read and written by every norm
    and every addition. This rounds the sum after each addition as well. It changes numbers more
    than the others do, and only in training under autocast.
    """

    def apply(self, host: nn.Module) -> int:
        """Change the class of the dropout behind the embedding.

        Args:
            host (nn.Module): The host with its adapters.

        Returns:
            int: Backbones that were changed.
        """
        found = [
            module.drop_after_pos
            for module in exact_modules(host, _BACKBONE)
            if not isinstance(module.drop_after_pos, AutocastOutput)
        ]
        for module in found:
            module.__class__ = mixed_class(AutocastOutput, type(module))
        return len(found)
