"""The vision tower of Hugging Face's CLIP: a ViT with a norm before its layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knowswap_mm.converters.key_table import KeyRule, KeyTable, without_prefix

if TYPE_CHECKING:
    from torch import Tensor

_PREFIX = 'vision_model.'
_LAYER, _HOST_LAYER = f'{_PREFIX}encoder.layers.{{i}}', 'backbone.layers.{i}'
_ATTENTION = f'{_LAYER}.self_attn'


def _to_token(vector: Tensor) -> Tensor:
    return vector.reshape(1, 1, -1)


def _from_token(token: Tensor) -> Tensor:
    return token.reshape(-1)


def _to_positions(rows: Tensor) -> Tensor:
    return rows.unsqueeze(0)


def _from_positions(positions: Tensor) -> Tensor:
    return positions.squeeze(0)


_RULES = [
    KeyRule(f'{_PREFIX}embeddings.class_embedding', 'backbone.cls_token', _to_token, _from_token),
    KeyRule(
        f'{_PREFIX}embeddings.position_embedding.weight',
        'backbone.pos_embed',
        _to_positions,
        _from_positions,
    ),
    KeyRule(
        f'{_PREFIX}embeddings.patch_embedding.weight', 'backbone.patch_embed.projection.weight'
    ),
    KeyRule(f'{_PREFIX}pre_layrnorm.{{p}}', 'backbone.pre_norm.{p}'),  # sic
    KeyRule(f'{_LAYER}.layer_norm1.{{p}}', f'{_HOST_LAYER}.ln1.{{p}}'),
    KeyRule([f'{_ATTENTION}.{name}_proj.{{p}}' for name in 'qkv'], f'{_HOST_LAYER}.attn.qkv.{{p}}'),
    KeyRule(f'{_ATTENTION}.out_proj.{{p}}', f'{_HOST_LAYER}.attn.proj.{{p}}'),
    KeyRule(f'{_LAYER}.layer_norm2.{{p}}', f'{_HOST_LAYER}.ln2.{{p}}'),
    KeyRule(f'{_LAYER}.mlp.fc1.{{p}}', f'{_HOST_LAYER}.ffn.layers.0.0.{{p}}'),
    KeyRule(f'{_LAYER}.mlp.fc2.{{p}}', f'{_HOST_LAYER}.ffn.layers.1.{{p}}'),
    KeyRule(f'{_PREFIX}post_layernorm.{{p}}', 'backbone.ln1.{p}'),
]
#: ``CLIPModel``, ``CLIPVisionModel``, ``CLIPForImageClassification``. The host is
#: ``VisionTransformer`` with ``pre_norm=True``; OpenAI's have ``QuickGELU`` in their layers.
HUGGING_FACE_CLIP = KeyTable(
    [
        *_RULES,
        *without_prefix(_RULES, _PREFIX),
        KeyRule('classifier.{p}', 'head.fc.{p}'),
    ],
    dropped={
        r'(vision_model\.)?embeddings\.position_ids': 'the host counts the positions itself',
        r'text_(model|projection)\..*|logit_scale': 'the host sees images, not texts',
        r'visual_projection\..*': 'it leads to what images and texts share, not to classes',
    },
)
