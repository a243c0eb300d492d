"""Patch embeddings as one matrix product."""

from __future__ import annotations

import mmcv.cnn
from torch import Tensor, nn
from torch.nn import functional as F

from knowswap_mm.acceleration.acceleration import Acceleration
from knowswap_mm.registry import ACCELERATIONS


class PatchConvolution(nn.Module):
    """Mixin of convolutions whose stride is the size of their kernel.

    Each patch is read once, so the convolution is one product of all patches with its weights. For
    three channels cuDNN has no fast kernel: on an H100 it needs ten times as long as the product.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Compute the convolution of images ``(images, channels, height, width)``.

        What is left over at the right and at the bottom is not read. The maps are
        ``(images, out channels, rows, columns)``; channels lie next to each other in memory.
        """
        if x.dim() != 4:
            return super().forward(x)
        tall, wide = self.kernel_size
        images, channels, height, width = x.shape
        rows, columns = height // tall, width // wide
        x = x[:, :, : rows * tall, : columns * wide]
        patches = x.reshape(images, channels, rows, tall, columns, wide).permute(0, 2, 4, 1, 3, 5)
        out = F.linear(patches.flatten(3), self.weight.flatten(1), self.bias)
        return out.permute(0, 3, 1, 2)


_CONVOLUTIONS = (nn.Conv2d, mmcv.cnn.Conv2d)


@ACCELERATIONS.register_module()
class LinearPatches(Acceleration):
    """Makes convolutions whose patches do not overlap :class:`PatchConvolution`.

    These are the patch embeddings of ViT and Swin. The numbers differ by the order of sums.
    """

    mixin = PatchConvolution

    def find(self, host: nn.Module) -> list[nn.Module]:
        """The convolutions that read each place once."""
        return [
            module
            for module in host.modules()
            if type(module) in _CONVOLUTIONS
            and module.stride == module.kernel_size != (1, 1)
            and module.padding in ((0, 0), 'valid')
            and module.dilation == (1, 1)
            and module.groups == 1
        ]
