"""The official classifier: ViT-B/16, `vit_bird`."""

from knowswap_mm.converters.key_table import KeyRule, KeyTable

_EMBEDDINGS = 'transformer.embeddings'
_LAYER, _HOST_LAYER = 'transformer.encoder.layer.{i}', 'backbone.layers.{i}'

OFFICIAL_VIT = KeyTable(
    [
        KeyRule(f'{_EMBEDDINGS}.cls_token', 'backbone.cls_token'),
        KeyRule(f'{_EMBEDDINGS}.position_embeddings', 'backbone.pos_embed'),
        KeyRule(f'{_EMBEDDINGS}.patch_embeddings.{{p}}', 'backbone.patch_embed.projection.{p}'),
        KeyRule(f'{_LAYER}.attention_norm.{{p}}', f'{_HOST_LAYER}.ln1.{{p}}'),
        KeyRule(
            [f'{_LAYER}.attn.{name}.{{p}}' for name in ('query', 'key', 'value')],
            f'{_HOST_LAYER}.attn.qkv.{{p}}',
        ),
        KeyRule(f'{_LAYER}.attn.out.{{p}}', f'{_HOST_LAYER}.attn.proj.{{p}}'),
        KeyRule(f'{_LAYER}.ffn_norm.{{p}}', f'{_HOST_LAYER}.ln2.{{p}}'),
        KeyRule(f'{_LAYER}.ffn.fc1.{{p}}', f'{_HOST_LAYER}.ffn.layers.0.0.{{p}}'),
        KeyRule(f'{_LAYER}.ffn.fc2.{{p}}', f'{_HOST_LAYER}.ffn.layers.1.{{p}}'),
        KeyRule('transformer.encoder.encoder_norm.{p}', 'backbone.ln1.{p}'),
        KeyRule('head.{p}', 'head.layers.head.{p}'),
    ]
)
