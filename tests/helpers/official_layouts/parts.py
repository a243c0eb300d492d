"""Parts that both networks share. ``w`` is a state dict, ``name`` a prefix in it."""

import math

import torch
import torch.nn.functional as F


def linear(w, name, x):
    return F.linear(x, w[f'{name}.weight'], w.get(f'{name}.bias'))


def norm(w, name, x):
    return F.layer_norm(x, x.shape[-1:], w[f'{name}.weight'], w[f'{name}.bias'])


def group_norm(w, name, x):
    return F.group_norm(x, 32, w[f'{name}.weight'], w[f'{name}.bias'])


def conv(w, name, x, **options):
    return F.conv2d(x, w[f'{name}.weight'], w.get(f'{name}.bias'), **options)


def mlp(w, name, x, layers=3):
    for i in range(layers):
        x = linear(w, f'{name}.layers.{i}', x)
        x = x.relu() if i < layers - 1 else x
    return x


def attention(w, name, query, key, value, heads, mask=None):
    """Multi-head attention; ``mask`` (B, Q, K) is True where a query must not look."""
    parts = zip(
        (query, key, value),
        w[f'{name}.in_proj_weight'].chunk(3),
        w[f'{name}.in_proj_bias'].chunk(3),
        strict=True,
    )
    q, k, v = (F.linear(x, a, b).unflatten(-1, (heads, -1)).transpose(1, 2) for x, a, b in parts)
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask[:, None], -math.inf)
    return linear(w, f'{name}.out_proj', (scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


def deformable_attention(w, name, query, references, memory, shapes, heads, points=4):
    """Multi-scale deformable attention (Deformable DETR, eq. 3).

    ``references`` is (B, Q, levels, 2) or, as boxes, (B, Q, levels, 4), relative to the image.
    """
    batch, count, levels = len(query), query.shape[1], len(shapes)
    value = linear(w, f'{name}.value_proj', memory).unflatten(-1, (heads, -1))
    offsets = linear(w, f'{name}.sampling_offsets', query)
    offsets = offsets.view(batch, count, heads, levels, points, 2)
    weights = linear(w, f'{name}.attention_weights', query)
    weights = weights.view(batch, count, heads, levels * points).softmax(-1)
    weights = weights.view(batch, count, heads, levels, points)
    result = 0
    start = 0
    for level, (height, width) in enumerate(shapes):
        here = value[:, start : start + height * width].permute(0, 2, 3, 1)
        start += height * width
        here = here.reshape(batch * heads, -1, height, width)
        base = references[:, :, None, level, None]
        if references.shape[-1] == 2:
            size = torch.tensor([width, height], dtype=query.dtype)
            place = base + offsets[:, :, :, level] / size
        else:
            place = base[..., :2] + offsets[:, :, :, level] / points * base[..., 2:] / 2
        grid = 2 * place.transpose(1, 2).flatten(0, 1) - 1
        sampled = F.grid_sample(here, grid, 'bilinear', 'zeros', align_corners=False)
        share = weights[:, :, :, level].transpose(1, 2).flatten(0, 1)
        result = result + (sampled * share[:, None]).sum(-1)
    result = result.view(batch, -1, count).transpose(1, 2)
    return linear(w, f'{name}.output_proj', result)


def sine_of_places(height, width, features, temperature, eps=1e-6, dtype=torch.float64):
    """Encoding of every pixel, (2 * features, H, W): y before x, sine and cosine by turns."""
    y = torch.arange(1, height + 1, dtype=dtype)[:, None].expand(height, width)
    x = torch.arange(1, width + 1, dtype=dtype)[None].expand(height, width)
    parts = []
    for place, last in ((y, height), (x, width)):
        angle = place / (last + eps) * 2 * math.pi
        steps = torch.arange(features, dtype=dtype) // 2 * 2 / features
        angle = angle[..., None] / temperature**steps
        parts.append(torch.where(torch.arange(features) % 2 == 0, angle.sin(), angle.cos()))
    return torch.cat(parts, -1).permute(2, 0, 1)


def centres(shapes, dtype):
    """Relative centres of all pixels of all levels, (P, 2), x before y."""
    rows = []
    for height, width in shapes:
        y = (torch.arange(height, dtype=dtype) + 0.5) / height
        x = (torch.arange(width, dtype=dtype) + 0.5) / width
        rows.append(torch.stack(torch.meshgrid(y, x, indexing='ij')[::-1], -1).flatten(0, 1))
    return torch.cat(rows)


def deformable_encoder(w, name, layers, levels, level_embed, temperature, heads):
    """Encoder over levels [(B, C, h, w)]; returns the memory (B, P, C) and the shapes."""
    shapes = [tuple(level.shape[-2:]) for level in levels]
    dtype, channels = levels[0].dtype, levels[0].shape[1]
    x = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], 1)
    position = torch.cat(
        [
            sine_of_places(*shape, channels // 2, temperature, dtype=dtype).flatten(1).T + embed
            for shape, embed in zip(shapes, level_embed, strict=True)
        ]
    )
    references = centres(shapes, dtype)[None, :, None].expand(len(x), -1, len(shapes), 2)
    for i in range(layers):
        layer = f'{name}.layers.{i}'
        new = deformable_attention(
            w, f'{layer}.self_attn', x + position, references, x, shapes, heads
        )
        x = norm(w, f'{layer}.norm1', x + new)
        new = linear(w, f'{layer}.linear2', linear(w, f'{layer}.linear1', x).relu())
        x = norm(w, f'{layer}.norm2', x + new)
    return x, shapes
