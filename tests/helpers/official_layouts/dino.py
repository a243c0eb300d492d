"""DINO (arXiv 2203.03605), 4-scale, two-stage, on IDEA-Research's keys."""

import math

import torch

from tests.helpers.official_layouts.parts import (
    attention,
    centres,
    conv,
    deformable_attention,
    deformable_encoder,
    group_norm,
    linear,
    mlp,
    norm,
)
from tests.helpers.official_layouts.swin import swin


def logit(x, eps):
    x = x.clamp(0, 1)
    return (x.clamp(min=eps) / (1 - x).clamp(min=eps)).log()


def sine_of_boxes(boxes, features=128):
    """Encoding of (cx, cy, w, h): y, x, w, h, each with sine and cosine by turns."""
    steps = 10000 ** (torch.arange(features, dtype=boxes.dtype) // 2 * 2 / features)
    parts = []
    for number in (1, 0, 2, 3):
        angle = boxes[..., number, None] * 2 * math.pi / steps
        parts.append(torch.where(torch.arange(features) % 2 == 0, angle.sin(), angle.cos()))
    return torch.cat(parts, -1)


def first_boxes(shapes, dtype):
    """Unactivated proposals (P, 4), and which of them are inside of the image."""
    sizes = [
        torch.full((h * w, 2), 0.05 * 2.0**level, dtype=dtype)
        for level, (h, w) in enumerate(shapes)
    ]
    boxes = torch.cat([centres(shapes, dtype), torch.cat(sizes)], 1)
    inside = ((boxes > 0.01) & (boxes < 0.99)).all(1, keepdim=True)
    return (boxes / (1 - boxes)).log().masked_fill(~inside, math.inf), inside


def dino(w, pictures, depths, swin_heads, window, queries, layers=6, heads=8, eps=1e-3):
    """Class scores (B, Q, classes) and boxes (B, Q, 4) of the last layer."""
    features = swin(w, 'backbone.0', pictures, depths, swin_heads, window, out=(1, 2, 3))
    levels = [conv(w, f'input_proj.{i}.0', feature) for i, feature in enumerate(features)]
    levels.append(conv(w, 'input_proj.3.0', features[-1], stride=2, padding=1))
    levels = [group_norm(w, f'input_proj.{i}.1', level) for i, level in enumerate(levels)]
    name = 'transformer.encoder'
    embed = w['transformer.level_embed']
    memory, shapes = deformable_encoder(w, name, layers, levels, embed, 20, heads)

    proposals, inside = first_boxes(shapes, memory.dtype)
    output = linear(w, 'transformer.enc_output', memory * inside)
    output = norm(w, 'transformer.enc_output_norm', output)
    best = linear(w, 'transformer.enc_out_class_embed', output).max(-1).values
    chosen = best.topk(queries, 1).indices[..., None].expand(-1, -1, 4)
    boxes = mlp(w, 'transformer.enc_out_bbox_embed', output) + proposals
    boxes = boxes.gather(1, chosen).sigmoid()

    query = w['transformer.tgt_embed.weight'][None].expand(len(pictures), -1, -1)
    for i in range(layers):
        layer = f'transformer.decoder.layers.{i}'
        place = mlp(w, 'transformer.decoder.ref_point_head', sine_of_boxes(boxes), 2)
        both = query + place
        new = attention(w, f'{layer}.self_attn', both, both, query, heads)
        query = norm(w, f'{layer}.norm2', query + new)
        references = boxes[:, :, None].expand(-1, -1, len(shapes), -1)
        new = deformable_attention(
            w, f'{layer}.cross_attn', query + place, references, memory, shapes, heads
        )
        query = norm(w, f'{layer}.norm1', query + new)
        new = linear(w, f'{layer}.linear2', linear(w, f'{layer}.linear1', query).relu())
        query = norm(w, f'{layer}.norm3', query + new)
        before = boxes
        boxes = (mlp(w, f'bbox_embed.{i}', query) + logit(before, eps)).sigmoid()
    normed = norm(w, 'transformer.decoder.norm', query)
    last = (mlp(w, f'bbox_embed.{layers - 1}', normed) + logit(before, eps)).sigmoid()
    return linear(w, f'class_embed.{layers - 1}', normed), last
