"""Multi-scale deformable attention of mmcv against its formula."""

from __future__ import annotations

from collections.abc import Callable

import torch
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)
from torch import Tensor

#: Batch, heads, channels of a head, queries, points, and the levels.
SHAPES = [
    (2, 8, 32, 300, 4, ((32, 32), (16, 16), (8, 8), (4, 4))),
    (1, 8, 16, 37, 4, ((25, 42), (13, 21))),
    (2, 4, 8, 5, 2, ((7, 3),)),
    (1, 1, 30, 11, 1, ((6, 6), (3, 3), (1, 1))),
    (2, 2, 64, 9, 3, ((12, 5), (6, 3))),
]
LIMITS = {torch.float32: 1e-5, torch.float64: 1e-9}


def formula(value: Tensor, shapes: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of bilinear samples, written from the definition.

    Args:
        value (Tensor): (batch, pixels of all levels, heads, channels).
        shapes (Tensor): (levels, 2), height and width.
        locations (Tensor): (batch, queries, heads, levels, points, 2), x and y from 0 to 1.
        weights (Tensor): (batch, queries, heads, levels, points).

    Returns:
        Tensor: (batch, queries, heads * channels).
    """
    batch, _, heads, channels = value.shape
    queries = locations.shape[1]
    output = value.new_zeros(batch, heads, queries, channels)
    start = 0
    for level, (height, width) in enumerate(shapes.tolist()):
        part = value[:, start : start + height * width].transpose(1, 2)
        start += height * width
        # Pixel centres lie at half numbers.
        size = value.new_tensor((width, height))
        place = locations[:, :, :, level].transpose(1, 2) * size - 0.5
        share = weights[:, :, :, level].transpose(1, 2)
        for corner in ((0, 0), (0, 1), (1, 0), (1, 1)):
            pixel = place.detach().floor() + torch.tensor(corner, device=value.device)
            nearness = (1 - (place - pixel).abs()).prod(-1)
            x, y = pixel.long().unbind(-1)
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            index = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).flatten(2)
            index = index[..., None].expand(-1, -1, -1, channels)
            found = part.gather(2, index).view(*share.shape, channels)
            output = output + (found * (share * nearness * inside)[..., None]).sum(3)
    return output.transpose(1, 2).flatten(2)


def compiled(value: Tensor, shapes: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    """The op as hosts call it on CUDA."""
    ends = (shapes[:, 0] * shapes[:, 1]).cumsum(0)
    starts = torch.cat([ends.new_zeros(1), ends[:-1]])
    return MultiScaleDeformableAttnFunction.apply(value, shapes, starts, locations, weights, 64)


def compare(op: Callable, shape: tuple, dtype: torch.dtype, device: str) -> dict[str, float]:
    """Relative errors of the result and of each gradient."""
    batch, heads, channels, queries, points, levels = shape
    generator = torch.Generator().manual_seed(0)
    draw = lambda *size: torch.rand(*size, generator=generator, dtype=torch.float64)  # noqa: E731
    inputs = [
        draw(batch, sum(h * w for h, w in levels), heads, channels) - 0.5,
        draw(batch, queries, heads, len(levels), points, 2) * 1.4 - 0.2,  # some lie outside
        draw(batch, queries, heads, len(levels), points),
    ]
    weight = draw(batch, queries, heads * channels).to(device, dtype)
    shapes = torch.tensor(levels, device=device)
    results = []
    for function in (op, formula):
        leaves = [x.to(device, dtype).requires_grad_() for x in inputs]
        output = function(leaves[0], shapes, leaves[1], leaves[2])
        gradients = torch.autograd.grad((output * weight).sum(), leaves)
        results.append([output.detach(), *gradients])
    names = ('forward', 'd value', 'd locations', 'd weights')
    return {
        name: float((found - wanted).abs().max() / wanted.abs().max())
        for name, found, wanted in zip(names, *results, strict=True)
    }


def operator_of(device: str) -> Callable:
    """What hosts run on a device."""
    on_cuda = torch.device(device).type == 'cuda'
    return compiled if on_cuda else multi_scale_deformable_attn_pytorch


def worst_error(device: str) -> float:
    """The largest error of a result or gradient, as a multiple of the limit of its precision."""
    return max(
        error / limit
        for dtype, limit in LIMITS.items()
        for shape in SHAPES
        for error in compare(operator_of(device), shape, dtype, device).values()
    )
