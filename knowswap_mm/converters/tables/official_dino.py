"""The official detector, and IDEA-Research's DINO: 4-scale, Swin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knowswap_mm.converters.key_table import KeyRule, KeyTable
from knowswap_mm.converters.tables.swin import swin_rules

if TYPE_CHECKING:
    from torch import Tensor

_POINTS = 'decoder.ref_point_head.layers'
_SCALES = 3  # of the backbone; the next scale is made from the last one
_LAYERS = 6
_ENCODER, _HOST_ENCODER = 'transformer.encoder.layers.{i}', 'encoder.layers.{i}'
_DECODER, _HOST_DECODER = 'transformer.decoder.layers.{i}', 'decoder.layers.{i}'
_MLP = ((0, 0), (1, 2), (2, 4))  # layer there, module here


def _ffn(source: str, target: str) -> list[KeyRule]:
    return [
        KeyRule(f'{source}.linear1.{{p}}', f'{target}.ffn.layers.0.0.{{p}}'),
        KeyRule(f'{source}.linear2.{{p}}', f'{target}.ffn.layers.1.{{p}}'),
    ]


def _widen(weight: Tensor) -> Tensor:
    from knowswap_mm.models.host_fixes import widen  # only now: a command line lists the tables

    return widen(weight)


def _narrow(weight: Tensor) -> Tensor:
    from knowswap_mm.models.host_fixes import narrow

    return narrow(weight)


def _branches() -> list[KeyRule]:
    """Heads: stored by the model and by its decoder; those of the encoder come last here."""
    rules = [
        KeyRule('transformer.enc_out_class_embed.{p}', f'bbox_head.cls_branches.{_LAYERS}.{{p}}')
    ]
    for there, here in _MLP:
        target = f'bbox_head.reg_branches.{_LAYERS}.{here}.{{p}}'
        rules.append(KeyRule(f'transformer.enc_out_bbox_embed.layers.{there}.{{p}}', target))
    for layer in range(_LAYERS):
        for owner in ('', 'transformer.decoder.'):
            target = f'bbox_head.cls_branches.{layer}.{{p}}'
            rules.append(KeyRule(f'{owner}class_embed.{layer}.{{p}}', target))
            for there, here in _MLP:
                target = f'bbox_head.reg_branches.{layer}.{here}.{{p}}'
                source = f'{owner}bbox_embed.{layer}.layers.{there}.{{p}}'
                rules.append(KeyRule(source, target))
    return rules


OFFICIAL_DINO = KeyTable(
    [
        *swin_rules('backbone.0'),
        *(
            KeyRule(f'input_proj.{scale}.{number}.{{p}}', f'neck.convs.{scale}.{name}.{{p}}')
            for scale in range(_SCALES)
            for number, name in enumerate(('conv', 'gn'))
        ),
        *(
            KeyRule(f'input_proj.{_SCALES}.{number}.{{p}}', f'neck.extra_convs.0.{name}.{{p}}')
            for number, name in enumerate(('conv', 'gn'))
        ),
        KeyRule('transformer.level_embed', 'level_embed'),
        KeyRule(f'{_ENCODER}.self_attn.{{p}}', f'{_HOST_ENCODER}.self_attn.{{p}}'),
        KeyRule(f'{_ENCODER}.norm1.{{p}}', f'{_HOST_ENCODER}.norms.0.{{p}}'),
        KeyRule(f'{_ENCODER}.norm2.{{p}}', f'{_HOST_ENCODER}.norms.1.{{p}}'),
        *_ffn(_ENCODER, _HOST_ENCODER),
        KeyRule('transformer.enc_output.{p}', 'memory_trans_fc.{p}'),
        KeyRule('transformer.enc_output_norm.{p}', 'memory_trans_norm.{p}'),
        KeyRule('transformer.tgt_embed.{p}', 'query_embedding.{p}'),
        KeyRule(f'{_DECODER}.self_attn.{{p}}', f'{_HOST_DECODER}.self_attn.attn.{{p}}'),
        KeyRule(f'{_DECODER}.cross_attn.{{p}}', f'{_HOST_DECODER}.cross_attn.{{p}}'),
        # There norm1 follows the cross attention, norm2 the self attention, which comes first.
        KeyRule(f'{_DECODER}.norm2.{{p}}', f'{_HOST_DECODER}.norms.0.{{p}}'),
        KeyRule(f'{_DECODER}.norm1.{{p}}', f'{_HOST_DECODER}.norms.1.{{p}}'),
        KeyRule(f'{_DECODER}.norm3.{{p}}', f'{_HOST_DECODER}.norms.2.{{p}}'),
        *_ffn(_DECODER, _HOST_DECODER),
        KeyRule('transformer.decoder.norm.{p}', 'decoder.norm.{p}'),
        KeyRule(f'transformer.{_POINTS}.0.weight', f'{_POINTS}.0.weight', _widen, _narrow),
        *(
            KeyRule(f'transformer.{_POINTS}.{name}', f'{_POINTS}.{name}')
            for name in ('0.bias', '1.weight', '1.bias')
        ),
        *_branches(),
        KeyRule('label_enc.weight', 'dn_query_generator.label_embedding.weight'),
    ],
    derived=['relative_position_index'],
)
