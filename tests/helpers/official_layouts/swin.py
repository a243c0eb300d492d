"""Swin Transformer (arXiv 2103.14030) on Microsoft's keys."""

import torch
import torch.nn.functional as F

from tests.helpers.official_layouts.modules import relative_positions
from tests.helpers.official_layouts.parts import conv, linear, norm


def regions(height, width, window, shift):
    """Number of the region of each pixel of a shifted map; regions do not see each other."""

    def number(size):
        places = torch.arange(size)
        return (places >= size - window).long() + (places >= size - shift).long()

    return number(height)[:, None] * 3 + number(width)[None]


def windows(x, window):
    """(B, H, W, C) to (B * windows, window**2, C)."""
    batch, height, width, channels = x.shape
    x = x.view(batch, height // window, window, width // window, window, channels)
    return x.transpose(2, 3).reshape(-1, window * window, channels)


def block(w, name, x, heads, window, shift):
    """One block on (B, H, W, C)."""
    batch, height, width, channels = x.shape
    y = norm(w, f'{name}.norm1', x)
    y = F.pad(y, (0, 0, 0, -width % window, 0, -height % window))
    full_height, full_width = y.shape[1:3]
    y = y.roll((-shift, -shift), (1, 2)) if shift else y
    y = windows(y, window)
    qkv = linear(w, f'{name}.attn.qkv', y).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    q, k, v = qkv
    scores = q @ k.transpose(-1, -2) * (channels // heads) ** -0.5
    scores = scores + w[f'{name}.attn.relative_position_bias_table'][
        relative_positions(window)
    ].permute(2, 0, 1)
    if shift:
        region = windows(regions(full_height, full_width, window, shift)[None, ..., None], window)
        apart = region != region.transpose(1, 2)
        scores = scores.unflatten(0, (batch, -1))
        scores = scores - 100.0 * apart[None, :, None].to(scores.dtype)
        scores = scores.flatten(0, 1)
    y = linear(w, f'{name}.attn.proj', (scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
    y = y.view(batch, full_height // window, full_width // window, window, window, channels)
    y = y.transpose(2, 3).reshape(batch, full_height, full_width, channels)
    y = y.roll((shift, shift), (1, 2)) if shift else y
    x = x + y[:, :height, :width]
    y = linear(w, f'{name}.mlp.fc1', norm(w, f'{name}.norm2', x))
    return x + linear(w, f'{name}.mlp.fc2', F.gelu(y))


def swin(w, name, pictures, depths, heads, window, out):
    """Feature maps (B, C, H, W) of the stages in ``out``."""
    x = conv(w, f'{name}.patch_embed.proj', pictures, stride=4).permute(0, 2, 3, 1)
    x = norm(w, f'{name}.patch_embed.norm', x)
    found = []
    for stage, depth in enumerate(depths):
        for number in range(depth):
            shift = window // 2 if number % 2 else 0
            x = block(w, f'{name}.layers.{stage}.blocks.{number}', x, heads[stage], window, shift)
        if stage in out:
            found.append(norm(w, f'{name}.norm{stage}', x).permute(0, 3, 1, 2))
        if stage < len(depths) - 1:
            x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
            quarters = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
            x = norm(w, f'{name}.layers.{stage}.downsample.norm', torch.cat(quarters, -1))
            x = linear(w, f'{name}.layers.{stage}.downsample.reduction', x)
    return found
