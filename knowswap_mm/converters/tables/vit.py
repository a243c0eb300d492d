"""ViTs: that of the official classifier, timm's, and Hugging Face's."""

from knowswap_mm.converters.key_table import KeyRule, KeyTable

_HOST_LAYER = 'backbone.layers.{i}'
_HUGGING = 'vit.encoder.layer.{i}'
_POOLER = {r'(vit\.)?pooler\..*': 'the head reads the class token, not the pooler'}
_EMBEDDINGS, _LAYER = 'transformer.embeddings', 'transformer.encoder.layer.{i}'

#: ViT-B/16, ``vit_bird``.
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
TIMM_VIT = KeyTable(
    [
        KeyRule('cls_token', 'backbone.cls_token'),
        KeyRule('pos_embed', 'backbone.pos_embed'),
        KeyRule('patch_embed.proj.{p}', 'backbone.patch_embed.projection.{p}'),
        KeyRule('blocks.{i}.norm1.{p}', f'{_HOST_LAYER}.ln1.{{p}}'),
        KeyRule('blocks.{i}.attn.qkv.{p}', f'{_HOST_LAYER}.attn.qkv.{{p}}'),
        KeyRule('blocks.{i}.attn.proj.{p}', f'{_HOST_LAYER}.attn.proj.{{p}}'),
        KeyRule('blocks.{i}.norm2.{p}', f'{_HOST_LAYER}.ln2.{{p}}'),
        KeyRule('blocks.{i}.mlp.fc1.{p}', f'{_HOST_LAYER}.ffn.layers.0.0.{{p}}'),
        KeyRule('blocks.{i}.mlp.fc2.{p}', f'{_HOST_LAYER}.ffn.layers.1.{{p}}'),
        KeyRule('norm.{p}', 'backbone.ln1.{p}'),
        KeyRule('head.{p}', 'head.layers.head.{p}'),
    ]
)
#: ``ViTForImageClassification``.
HUGGING_FACE_VIT = KeyTable(
    [
        KeyRule('vit.embeddings.cls_token', 'backbone.cls_token'),
        KeyRule('vit.embeddings.position_embeddings', 'backbone.pos_embed'),
        KeyRule(
            'vit.embeddings.patch_embeddings.projection.{p}', 'backbone.patch_embed.projection.{p}'
        ),
        KeyRule(f'{_HUGGING}.layernorm_before.{{p}}', f'{_HOST_LAYER}.ln1.{{p}}'),
        KeyRule(
            [f'{_HUGGING}.attention.attention.{name}.{{p}}' for name in ('query', 'key', 'value')],
            f'{_HOST_LAYER}.attn.qkv.{{p}}',
        ),
        KeyRule(f'{_HUGGING}.attention.output.dense.{{p}}', f'{_HOST_LAYER}.attn.proj.{{p}}'),
        KeyRule(f'{_HUGGING}.layernorm_after.{{p}}', f'{_HOST_LAYER}.ln2.{{p}}'),
        KeyRule(f'{_HUGGING}.intermediate.dense.{{p}}', f'{_HOST_LAYER}.ffn.layers.0.0.{{p}}'),
        KeyRule(f'{_HUGGING}.output.dense.{{p}}', f'{_HOST_LAYER}.ffn.layers.1.{{p}}'),
        KeyRule('vit.layernorm.{p}', 'backbone.ln1.{p}'),
        KeyRule('classifier.{p}', 'head.layers.head.{p}'),
    ],
    dropped=_POOLER,
)
