"""The sum of a ViT's blocks in the type of autocast."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from knowswap_mm.acceleration.acceleration import Acceleration, exact_modules
from knowswap_mm.registry import ACCELERATIONS


class AutocastOutput(nn.Module):
    """Mixin: in training under autocast, the output is cast to its type."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Compute what the module computes of tokens ``(images, tokens, channels)``."""
        out = super().forward(x, *args, **kwargs)
        kind = x.device.type
        if self.training and torch.is_autocast_enabled(kind):
            out = out.to(torch.get_autocast_dtype(kind))
        return out


_BACKBONE = 'mmpretrain.models.backbones.vision_transformer.VisionTransformer'


@ACCELERATIONS.register_module()
class HalfResiduals(Acceleration):
    """Makes what enters the blocks of a ViT an :class:`AutocastOutput`.

    Under autocast the branches of a block are computed in half precision, but what they are added
    to stays fp32, because the embedding of positions is; it is read and written by every norm
    and every addition. This rounds the sum after each addition as well. It changes numbers more
    than the others do, and only in training under autocast.
    """

    mixin = AutocastOutput

    def find(self, host: nn.Module) -> list[nn.Module]:
        """The dropouts after the embeddings."""
        dropouts = [module.drop_after_pos for module in exact_modules(host, _BACKBONE)]
        return [module for module in dropouts if not isinstance(module, AutocastOutput)]
