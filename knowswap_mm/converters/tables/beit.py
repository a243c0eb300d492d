"""BEiTs: Hugging Face's, and Microsoft's names, which timm has, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knowswap_mm.converters.key_table import KeyRule, KeyTable, without_prefix

if TYPE_CHECKING:
    from torch import Tensor

_HOST_LAYER = 'backbone.layers.{i}'
_TABLE, _INDEX = 'relative_position_bias_table', 'relative_position_index'
_PREFIX = 'beit.'
_LAYER = f'{_PREFIX}encoder.layer.{{i}}'
_SELF = f'{_LAYER}.attention.attention'
_SHARED = 'backbone.rel_pos_bias'
_DROPPED = 'it stood for hidden patches in the training of BEiT'


def _indices(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rows of the tables of relative positions, ``(1 + side ** 2, 1 + side ** 2)`` of integers.

    The last three rows of a table are for the class token to a patch, back, and to itself.
    """
    import torch  # only now: a command line lists the tables

    found = {}
    for key, table in state.items():
        if not key.endswith(_TABLE):
            continue
        count = len(table)
        width = round((count - 3) ** 0.5)  # distances of -(side - 1) to side - 1
        y, x = (
            each.flatten()
            for each in torch.meshgrid(*[torch.arange(width // 2 + 1)] * 2, indexing='ij')
        )
        rows = (y[:, None] - y + width // 2) * width + x[:, None] - x + width // 2
        index = rows.new_full((len(y) + 1, len(y) + 1), count - 3)
        index[1:, 0], index[0, 0], index[1:, 1:] = count - 2, count - 1, rows
        found[key.replace(_TABLE, _INDEX)] = index
    return found


_RULES = [
    KeyRule(f'{_PREFIX}embeddings.cls_token', 'backbone.cls_token'),
    KeyRule(f'{_PREFIX}embeddings.position_embeddings', 'backbone.pos_embed'),
    KeyRule(
        f'{_PREFIX}embeddings.patch_embeddings.projection.{{p}}',
        'backbone.patch_embed.projection.{p}',
    ),
    KeyRule(f'{_LAYER}.layernorm_before.{{p}}', f'{_HOST_LAYER}.ln1.{{p}}'),
    KeyRule(
        [f'{_SELF}.{name}.weight' for name in ('query', 'key', 'value')],
        f'{_HOST_LAYER}.attn.qkv.weight',
    ),
    KeyRule(f'{_SELF}.query.bias', f'{_HOST_LAYER}.attn.q_bias'),
    KeyRule(f'{_SELF}.value.bias', f'{_HOST_LAYER}.attn.v_bias'),  # a key has none
    KeyRule(f'{_SELF}.relative_position_bias.{_TABLE}', f'{_HOST_LAYER}.attn.{_TABLE}'),
    KeyRule(f'{_LAYER}.attention.output.dense.{{p}}', f'{_HOST_LAYER}.attn.proj.{{p}}'),
    KeyRule(f'{_LAYER}.lambda_1', f'{_HOST_LAYER}.gamma_1'),
    KeyRule(f'{_LAYER}.layernorm_after.{{p}}', f'{_HOST_LAYER}.ln2.{{p}}'),
    KeyRule(f'{_LAYER}.intermediate.dense.{{p}}', f'{_HOST_LAYER}.ffn.layers.0.0.{{p}}'),
    KeyRule(f'{_LAYER}.output.dense.{{p}}', f'{_HOST_LAYER}.ffn.layers.1.{{p}}'),
    KeyRule(f'{_LAYER}.lambda_2', f'{_HOST_LAYER}.gamma_2'),
    KeyRule(f'{_PREFIX}encoder.relative_position_bias.{_TABLE}', f'{_SHARED}.{_TABLE}'),
    KeyRule(f'{_PREFIX}layernorm.{{p}}', 'backbone.ln1.{p}'),  # the class token is read
    KeyRule(f'{_PREFIX}pooler.layernorm.{{p}}', 'backbone.ln2.{p}'),  # or the mean of the patches
]
#: ``BeitModel``, ``BeitForImageClassification``. The host is ``BEiTViT``.
HUGGING_FACE_BEIT = KeyTable(
    [*_RULES, *without_prefix(_RULES, _PREFIX), KeyRule('classifier.{p}', 'head.fc.{p}')],
    dropped={
        r'(beit\.)?embeddings\.mask_token': _DROPPED,
        r'(beit\.)?encoder\..*\.relative_position_index': 'it is computed',
        r'lm_head\..*': 'it guesses hidden patches, which no host does',
    },
    derived=[_INDEX],
    computed=_indices,
)
_BLOCK = 'blocks.{i}'
#: Microsoft's and timm's classifiers.
BEIT = KeyTable(
    [
        KeyRule('cls_token', 'backbone.cls_token'),
        KeyRule('pos_embed', 'backbone.pos_embed'),
        KeyRule('patch_embed.proj.{p}', 'backbone.patch_embed.projection.{p}'),
        KeyRule(f'{_BLOCK}.norm1.{{p}}', f'{_HOST_LAYER}.ln1.{{p}}'),
        *(
            KeyRule(f'{_BLOCK}.attn.{name}', f'{_HOST_LAYER}.attn.{name}')
            for name in ('qkv.weight', 'q_bias', 'v_bias', _TABLE, 'proj.{p}')
        ),
        KeyRule(f'{_BLOCK}.gamma_{{j}}', f'{_HOST_LAYER}.gamma_{{j}}'),
        KeyRule(f'{_BLOCK}.norm2.{{p}}', f'{_HOST_LAYER}.ln2.{{p}}'),
        KeyRule(f'{_BLOCK}.mlp.fc1.{{p}}', f'{_HOST_LAYER}.ffn.layers.0.0.{{p}}'),
        KeyRule(f'{_BLOCK}.mlp.fc2.{{p}}', f'{_HOST_LAYER}.ffn.layers.1.{{p}}'),
        KeyRule(f'rel_pos_bias.{_TABLE}', f'{_SHARED}.{_TABLE}'),
        KeyRule('norm.{p}', 'backbone.ln1.{p}'),
        KeyRule('fc_norm.{p}', 'backbone.ln2.{p}'),
        KeyRule('head.{p}', 'head.fc.{p}'),
    ],
    dropped={
        'mask_token': _DROPPED,
        r'(blocks\.\d+\.attn|rel_pos_bias)\.relative_position_index': 'it is computed',
    },
    derived=[_INDEX],
    computed=_indices,
)
