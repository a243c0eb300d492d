"""Patch embeddings as one matrix product."""

from __future__ import annotations

import mmcv.cnn
from torch import nn

from knowswap_mm.acceleration.acceleration import Acceleration
from knowswap_mm.acceleration.mixed_class import mixed_class
from knowswap_mm.acceleration.patch_convolution import PatchConvolution
from knowswap_mm.registry import ACCELERATIONS

_CONVOLUTIONS = (nn.Conv2d, mmcv.cnn.Conv2d)


@ACCELERATIONS.register_module()
class LinearPatches(Acceleration):
    """Makes convolutions whose patches do not overlap :class:`PatchConvolution`.

    These are the patch embeddings of ViT and Swin. The numbers differ by the order of sums.
    """

    def apply(self, host: nn.Module) -> int:
        """Change the class of the host's patch embeddings.

        Args:
            host (nn.Module): The host with its adapters.

        Returns:
            int: Convolutions that were changed.
        """
        found = [
            module
            for module in host.modules()
            if type(module) in _CONVOLUTIONS
            and module.stride == module.kernel_size != (1, 1)
            and module.padding in ((0, 0), 'valid')
            and module.dilation == (1, 1)
            and module.groups == 1
        ]
        for module in found:
            module.__class__ = mixed_class(PatchConvolution, type(module))
        return len(found)
