"""The official segmentor, and detectron2's Mask2Former: Swin."""

from knowswap_mm.converters.key_table import KeyRule, KeyTable
from knowswap_mm.converters.tables.swin import swin_rules

_PIXEL, _HOST_PIXEL = 'sem_seg_head.pixel_decoder', 'decode_head.pixel_decoder'
_ENCODER = f'{_PIXEL}.transformer.encoder.layers.{{i}}'
_HOST_ENCODER = f'{_HOST_PIXEL}.encoder.layers.{{i}}'
_PREDICTOR, _HEAD = 'sem_seg_head.predictor', 'decode_head'
_HOST_LAYER = f'{_HEAD}.transformer_decoder.layers.{{i}}'
_CROSS = f'{_PREDICTOR}.transformer_cross_attention_layers.{{i}}'
_SELF = f'{_PREDICTOR}.transformer_self_attention_layers.{{i}}'
_FFN = f'{_PREDICTOR}.transformer_ffn_layers.{{i}}'

OFFICIAL_MASK2FORMER = KeyTable(
    [
        *swin_rules('backbone'),
        KeyRule(
            f'{_PIXEL}.input_proj.{{i}}.0.{{p}}', f'{_HOST_PIXEL}.input_convs.{{i}}.conv.{{p}}'
        ),
        KeyRule(f'{_PIXEL}.input_proj.{{i}}.1.{{p}}', f'{_HOST_PIXEL}.input_convs.{{i}}.gn.{{p}}'),
        KeyRule(f'{_PIXEL}.transformer.level_embed', f'{_HOST_PIXEL}.level_encoding.weight'),
        KeyRule(f'{_ENCODER}.self_attn.{{p}}', f'{_HOST_ENCODER}.self_attn.{{p}}'),
        KeyRule(f'{_ENCODER}.norm1.{{p}}', f'{_HOST_ENCODER}.norms.0.{{p}}'),
        KeyRule(f'{_ENCODER}.norm2.{{p}}', f'{_HOST_ENCODER}.norms.1.{{p}}'),
        KeyRule(f'{_ENCODER}.linear1.{{p}}', f'{_HOST_ENCODER}.ffn.layers.0.0.{{p}}'),
        KeyRule(f'{_ENCODER}.linear2.{{p}}', f'{_HOST_ENCODER}.ffn.layers.1.{{p}}'),
        KeyRule(f'{_PIXEL}.adapter_1.norm.{{p}}', f'{_HOST_PIXEL}.lateral_convs.0.gn.{{p}}'),
        KeyRule(f'{_PIXEL}.adapter_1.weight', f'{_HOST_PIXEL}.lateral_convs.0.conv.weight'),
        KeyRule(f'{_PIXEL}.layer_1.norm.{{p}}', f'{_HOST_PIXEL}.output_convs.0.gn.{{p}}'),
        KeyRule(f'{_PIXEL}.layer_1.weight', f'{_HOST_PIXEL}.output_convs.0.conv.weight'),
        KeyRule(f'{_PIXEL}.mask_features.{{p}}', f'{_HOST_PIXEL}.mask_feature.{{p}}'),
        KeyRule(f'{_CROSS}.multihead_attn.{{p}}', f'{_HOST_LAYER}.cross_attn.attn.{{p}}'),
        KeyRule(f'{_CROSS}.norm.{{p}}', f'{_HOST_LAYER}.norms.0.{{p}}'),
        KeyRule(f'{_SELF}.self_attn.{{p}}', f'{_HOST_LAYER}.self_attn.attn.{{p}}'),
        KeyRule(f'{_SELF}.norm.{{p}}', f'{_HOST_LAYER}.norms.1.{{p}}'),
        KeyRule(f'{_FFN}.linear1.{{p}}', f'{_HOST_LAYER}.ffn.layers.0.0.{{p}}'),
        KeyRule(f'{_FFN}.linear2.{{p}}', f'{_HOST_LAYER}.ffn.layers.1.{{p}}'),
        KeyRule(f'{_FFN}.norm.{{p}}', f'{_HOST_LAYER}.norms.2.{{p}}'),
        KeyRule(f'{_PREDICTOR}.decoder_norm.{{p}}', f'{_HEAD}.transformer_decoder.post_norm.{{p}}'),
        KeyRule(f'{_PREDICTOR}.query_feat.weight', f'{_HEAD}.query_feat.weight'),
        # Files of the first version of detectron2's head.
        KeyRule(f'{_PREDICTOR}.static_query.weight', f'{_HEAD}.query_feat.weight', reads_only=True),
        KeyRule(f'{_PREDICTOR}.query_embed.weight', f'{_HEAD}.query_embed.weight'),
        KeyRule(f'{_PREDICTOR}.level_embed.weight', f'{_HEAD}.level_embed.weight'),
        KeyRule(f'{_PREDICTOR}.class_embed.{{p}}', f'{_HEAD}.cls_embed.{{p}}'),
        *(
            KeyRule(
                f'{_PREDICTOR}.mask_embed.layers.{there}.{{p}}', f'{_HEAD}.mask_embed.{here}.{{p}}'
            )
            for there, here in ((0, 0), (1, 2), (2, 4))
        ),
    ],
    dropped={r'criterion\.empty_weight': 'the host has class_weight in its config'},
    derived=['relative_position_index'],
)
