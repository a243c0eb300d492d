"""ViTs: that of the official classifier, timm's, Hugging Face's, and its DINOv2."""

from __future__ import annotations

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


def _dinov2_rules(prefix: str, reads_only: bool) -> list[KeyRule]:
    """Those of ``Dinov2Model``, or of a model that calls it ``dinov2``.

    What is written with ``--back`` has the keys of ``Dinov2Model`` itself.
    """
    layer, host = f'{prefix}encoder.layer.{{i}}', _HOST_LAYER
    attention, mlp = f'{layer}.attention', f'{layer}.mlp'
    parts = [f'{attention}.attention.{name}.{{p}}' for name in ('query', 'key', 'value')]
    pairs: dict[str | tuple[str, ...], str] = {
        f'{prefix}embeddings.cls_token': 'backbone.cls_token',
        f'{prefix}embeddings.position_embeddings': 'backbone.pos_embed',
        f'{prefix}embeddings.patch_embeddings.{{p}}': 'backbone.patch_embed.{p}',
        f'{layer}.norm1.{{p}}': f'{host}.ln1.{{p}}',
        tuple(parts): f'{host}.attn.qkv.{{p}}',
        f'{attention}.output.dense.{{p}}': f'{host}.attn.proj.{{p}}',
        f'{layer}.layer_scale1.lambda1': f'{host}.attn.gamma1.weight',
        f'{layer}.norm2.{{p}}': f'{host}.ln2.{{p}}',
        f'{mlp}.fc1.{{p}}': f'{host}.ffn.layers.0.0.{{p}}',
        f'{mlp}.fc2.{{p}}': f'{host}.ffn.layers.1.{{p}}',
        f'{mlp}.weights_in.{{p}}': f'{host}.ffn.w12.{{p}}',  # of the giant: SwiGLU
        f'{mlp}.weights_out.{{p}}': f'{host}.ffn.w3.{{p}}',
        f'{layer}.layer_scale2.lambda1': f'{host}.ffn.gamma2.weight',
        f'{prefix}layernorm.{{p}}': 'backbone.ln1.{p}',
    }
    return [KeyRule(source, target, reads_only=reads_only) for source, target in pairs.items()]


#: ``Dinov2Model``, ``Dinov2ForImageClassification``: small, base, large and giant. The host is
#: ``VisionTransformer`` with ``layer_scale_init_value`` above 0; it resizes the 37 x 37 positions
#: to its ``img_size``.
HUGGING_FACE_DINOV2 = KeyTable(
    [*_dinov2_rules('', False), *_dinov2_rules('dinov2.', True)],
    dropped={
        r'(dinov2\.)?embeddings\.mask_token': 'it stood for hidden patches when DINOv2 trained',
        r'classifier\..*': 'it reads the mean of the patches, too; heads of hosts have classes of '
        'their own',
    },
    refused={
        r'(\w+\.)?embeddings\.register_tokens': 'the host has no registers. Fix: take a DINOv2 '
        'without them, e.g. facebook/dinov2-small',
    },
)
