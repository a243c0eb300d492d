"""Mask2Former (arXiv 2112.01527) on detectron2's keys."""

import torch
import torch.nn.functional as F

from tests.helpers.official_layouts.parts import (
    attention,
    conv,
    deformable_encoder,
    group_norm,
    linear,
    mlp,
    norm,
    sine_of_places,
)
from tests.helpers.official_layouts.swin import swin


def mask2former(w, pictures, depths, swin_heads, window, encoder_layers, decoder_layers, heads=8):
    """Class scores (B, Q, classes + 1) and masks (B, Q, H / 4, W / 4) of the last layer."""
    features = swin(w, 'backbone', pictures, depths, swin_heads, window, out=(0, 1, 2, 3))
    pixel, head = 'sem_seg_head.pixel_decoder', 'sem_seg_head.predictor'
    levels = []
    for i, feature in enumerate(features[:0:-1]):
        level = conv(w, f'{pixel}.input_proj.{i}.0', feature)
        levels.append(group_norm(w, f'{pixel}.input_proj.{i}.1', level))
    embed = w[f'{pixel}.transformer.level_embed']
    name = f'{pixel}.transformer.encoder'
    memory, shapes = deformable_encoder(w, name, encoder_layers, levels, embed, 10000, heads)
    parts = memory.split([height * width for height, width in shapes], 1)
    scales = [
        part.transpose(1, 2).unflatten(2, shape) for part, shape in zip(parts, shapes, strict=True)
    ]
    lateral = group_norm(w, f'{pixel}.adapter_1.norm', conv(w, f'{pixel}.adapter_1', features[0]))
    fine = lateral + F.interpolate(scales[-1], lateral.shape[-2:], mode='bilinear')
    fine = conv(w, f'{pixel}.layer_1', fine, padding=1)
    fine = group_norm(w, f'{pixel}.layer_1.norm', fine).relu()
    mask_features = conv(w, f'{pixel}.mask_features', fine)

    sources, positions = [], []
    for i, scale in enumerate(scales):
        source = scale.flatten(2).transpose(1, 2) + w[f'{head}.level_embed.weight'][i]
        sources.append(source)
        place = sine_of_places(*shapes[i], scale.shape[1] // 2, 10000, dtype=scale.dtype)
        positions.append(place.flatten(1).T)
    batch = len(pictures)
    query = w[f'{head}.query_feat.weight'][None].expand(batch, -1, -1)
    place = w[f'{head}.query_embed.weight']

    def predict(query, shape):
        normed = norm(w, f'{head}.decoder_norm', query)
        masks = torch.einsum('bqc,bchw->bqhw', mlp(w, f'{head}.mask_embed', normed), mask_features)
        small = F.interpolate(masks, shape, mode='bilinear').flatten(2)
        outside = small.sigmoid() < 0.5
        outside = outside & ~outside.all(-1, keepdim=True)
        return linear(w, f'{head}.class_embed', normed), masks, outside

    scores, masks, outside = predict(query, shapes[0])
    for i in range(decoder_layers):
        level = i % 3
        layer = f'{head}.transformer_cross_attention_layers.{i}'
        key = sources[level] + positions[level]
        new = attention(
            w, f'{layer}.multihead_attn', query + place, key, sources[level], heads, outside
        )
        query = norm(w, f'{layer}.norm', query + new)
        layer = f'{head}.transformer_self_attention_layers.{i}'
        both = query + place
        new = attention(w, f'{layer}.self_attn', both, both, query, heads)
        query = norm(w, f'{layer}.norm', query + new)
        layer = f'{head}.transformer_ffn_layers.{i}'
        new = linear(w, f'{layer}.linear2', linear(w, f'{layer}.linear1', query).relu())
        query = norm(w, f'{layer}.norm', query + new)
        scores, masks, outside = predict(query, shapes[(i + 1) % 3])
    return scores, masks
