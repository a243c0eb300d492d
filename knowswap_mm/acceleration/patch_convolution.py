"""A convolution over patches as one matrix product."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class PatchConvolution(nn.Module):
    """Mixin of convolutions whose stride is the size of their kernel.

    Each patch is read once, so the convolution is one product of all patches with its weights. For
    three channels cuDNN has no fast kernel: on an H100 it needs ten times as long as the product.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Compute the convolution.

        Args:
            x (Tensor): Pictures, ``(pictures, channels, height, width)``; what is left over at the
                right and at the bottom is not read.

        Returns:
            Tensor: Maps, ``(pictures, out channels, rows, columns)``; channels lie next to each
            other in memory.
        """
        if x.dim() != 4:
            return super().forward(x)
        tall, wide = self.kernel_size
        pictures, channels, height, width = x.shape
        rows, columns = height // tall, width // wide
        x = x[:, :, : rows * tall, : columns * wide]
        patches = x.reshape(pictures, channels, rows, tall, columns, wide).permute(0, 2, 4, 1, 3, 5)
        out = F.linear(patches.flatten(3), self.weight.flatten(1), self.bias)
        return out.permute(0, 3, 1, 2)
