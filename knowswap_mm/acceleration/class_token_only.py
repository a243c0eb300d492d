"""ViT's last block for its class token."""

from __future__ import annotations

from torch import nn

from knowswap_mm.acceleration.acceleration import Acceleration
from knowswap_mm.acceleration.class_token_block import ClassTokenBlock
from knowswap_mm.acceleration.exact_modules import exact_modules
from knowswap_mm.acceleration.mixed_class import mixed_class
from knowswap_mm.registry import ACCELERATIONS

_BACKBONE = 'mmpretrain.models.backbones.vision_transformer.VisionTransformer'
_BLOCK = 'mmpretrain.models.backbones.vision_transformer.TransformerEncoderLayer'


@ACCELERATIONS.register_module()
class ClassTokenOnly(Acceleration):
    """Makes the last block of a ViT a :class:`ClassTokenBlock`.

    Outputs and gradients are those of the host up to the order of sums; dropout draws fewer random
    numbers. Only where the class token of the last block is all that the backbone gives away.
    """

    def apply(self, host: nn.Module) -> int:
        """Change the class of the last blocks.

        Args:
            host (nn.Module): The host with its adapters.

        Returns:
            int: Blocks that were changed.
        """
        changed = 0
        for backbone in exact_modules(host, _BACKBONE):
            last = backbone.layers[-1]
            if (
                backbone.out_type == 'cls_token'
                and list(backbone.out_indices) == [len(backbone.layers) - 1]
                and exact_modules(last, _BLOCK)[:1] == [last]
                and not last.attn.v_shortcut
            ):
                last.__class__ = mixed_class(ClassTokenBlock, type(last))
                changed += 1
        return changed
