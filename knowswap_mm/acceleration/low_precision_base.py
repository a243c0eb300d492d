"""Frozen weights that are cast for autocast once."""

from __future__ import annotations

import mmcv.cnn
from peft.tuners import lora
from peft.tuners.lora import LoraLayer
from torch import nn

from knowswap_mm.acceleration.acceleration import Acceleration
from knowswap_mm.acceleration.low_precision_weights import LowPrecisionWeights
from knowswap_mm.acceleration.mixed_class import mixed_class
from knowswap_mm.acceleration.versioned_merge import VersionedMerge
from knowswap_mm.registry import ACCELERATIONS

_LAYERS = (nn.Linear, mmcv.cnn.Linear, nn.Conv2d, mmcv.cnn.Conv2d)


@ACCELERATIONS.register_module()
class LowPrecisionBase(Acceleration):
    """Makes frozen linears and convolutions :class:`LowPrecisionWeights`.

    The numbers are bit by bit those of autocast. It costs the memory of one copy in half precision,
    which a training step needs for its backward pass anyway. Compiled blocks cast as before.
    """

    def apply(self, host: nn.Module) -> int:
        """Change the class of the host's frozen layers.

        Args:
            host (nn.Module): The host with its adapters.

        Returns:
            int: Layers that were changed; matrices of adapters are left alone.
        """
        adapters = set()
        for module in host.modules():
            if isinstance(module, LoraLayer):
                adapters.update(id(m) for m in module.lora_A.modules())
                adapters.update(id(m) for m in module.lora_B.modules())
        layers = [
            module
            for module in host.modules()
            if type(module) in _LAYERS
            and id(module) not in adapters
            and not module.weight.requires_grad
        ]
        for layer in layers:
            LowPrecisionWeights.adopt(layer)
        for module in host.modules():
            if type(module) in (lora.Linear, lora.Conv2d):
                module.__class__ = mixed_class(VersionedMerge, type(module))
        return len(layers)
