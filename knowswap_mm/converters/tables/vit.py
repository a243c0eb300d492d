"""ViTs: that of the official classifier, timm's, Hugging Face's with its DeiT and DINOv2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knowswap_mm.converters.key_table import KeyRule, KeyTable, without_prefix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

_HOST_LAYER = 'backbone.layers.{i}'
_POSITIONS = 'backbone.pos_embed'
_NO_REGISTERS = (
    'the host has no registers. Fix: take a DINOv2 without them, e.g. facebook/dinov2-small'
)
_MASK_TOKEN = 'it stood for hidden patches when DINOv2 trained'
_EMBEDDINGS, _LAYER = 'transformer.embeddings', 'transformer.encoder.layer.{i}'


def side_of(state: Mapping[str, Tensor]) -> int | None:
    """Patches along a side of the image that the positions of a host's weights are for.

    None if there are no positions of patches.
    """
    if _POSITIONS not in state:
        return None
    tokens = 1 + ('backbone.dist_token' in state)
    return round((state[_POSITIONS].shape[1] - tokens) ** 0.5)


#: ViT-B/16, ``vit_bird``.
OFFICIAL_VIT = KeyTable(
    [
        KeyRule(f'{_EMBEDDINGS}.cls_token', 'backbone.cls_token'),
        KeyRule(f'{_EMBEDDINGS}.position_embeddings', _POSITIONS),
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


def _with_class_row(positions: Tensor) -> Tensor:
    """DeiT III has no position for the class token, which is one of zeros."""
    count = positions.shape[1]
    if round(count**0.5) ** 2 != count:
        return positions
    padded = positions.new_zeros(1, count + 1, positions.shape[2])
    padded[:, 1:] = positions
    return padded


def _without_class_row(positions: Tensor) -> Tensor:
    return positions[:, 1:] if not positions[:, 0].any() else positions


#: Also DeiT (I with its distilled models, III) and DINOv2, from timm or as Meta publishes it.
TIMM_VIT = KeyTable(
    [
        KeyRule('cls_token', 'backbone.cls_token'),
        KeyRule('dist_token', 'backbone.dist_token'),
        KeyRule('pos_embed', _POSITIONS, _with_class_row, _without_class_row),
        KeyRule('patch_embed.proj.{p}', 'backbone.patch_embed.projection.{p}'),
        KeyRule('norm_pre.{p}', 'backbone.pre_norm.{p}'),  # of CLIP
        KeyRule('blocks.{i}.norm1.{p}', f'{_HOST_LAYER}.ln1.{{p}}'),
        KeyRule('blocks.{i}.attn.qkv.{p}', f'{_HOST_LAYER}.attn.qkv.{{p}}'),
        KeyRule('blocks.{i}.attn.proj.{p}', f'{_HOST_LAYER}.attn.proj.{{p}}'),
        KeyRule('blocks.{i}.ls1.gamma', f'{_HOST_LAYER}.attn.gamma1.weight'),
        KeyRule('blocks.{i}.norm2.{p}', f'{_HOST_LAYER}.ln2.{{p}}'),
        KeyRule('blocks.{i}.mlp.fc1.{p}', f'{_HOST_LAYER}.ffn.layers.0.0.{{p}}'),
        KeyRule('blocks.{i}.mlp.fc2.{p}', f'{_HOST_LAYER}.ffn.layers.1.{{p}}'),
        KeyRule('blocks.{i}.mlp.w12.{p}', f'{_HOST_LAYER}.ffn.w12.{{p}}'),  # of the giant
        KeyRule('blocks.{i}.mlp.w3.{p}', f'{_HOST_LAYER}.ffn.w3.{{p}}'),
        KeyRule('blocks.{i}.ls2.gamma', f'{_HOST_LAYER}.ffn.gamma2.weight'),
        KeyRule('norm.{p}', 'backbone.ln1.{p}'),
        KeyRule('fc_norm.{p}', 'backbone.ln2.{p}'),  # the mean of the patches is read
        KeyRule('head.{p}', 'head.layers.head.{p}'),
        KeyRule('head_dist.{p}', 'head.layers.head_dist.{p}'),
    ],
    dropped={'mask_token': _MASK_TOKEN},
    refused={r'reg_token|register_tokens': _NO_REGISTERS},
)


def _hugging_face(prefix: str) -> list[KeyRule]:
    """Those of a model that calls its ViT so, and of that ViT alone."""
    layer = f'{prefix}encoder.layer.{{i}}'
    parts = [f'{layer}.attention.attention.{name}.{{p}}' for name in ('query', 'key', 'value')]
    pairs: dict[str | tuple[str, ...], str] = {
        f'{prefix}embeddings.cls_token': 'backbone.cls_token',
        f'{prefix}embeddings.distillation_token': 'backbone.dist_token',
        f'{prefix}embeddings.position_embeddings': _POSITIONS,
        f'{prefix}embeddings.patch_embeddings.projection.{{p}}': 'backbone.patch_embed.'
        'projection.{p}',
        f'{layer}.layernorm_before.{{p}}': f'{_HOST_LAYER}.ln1.{{p}}',
        tuple(parts): f'{_HOST_LAYER}.attn.qkv.{{p}}',
        f'{layer}.attention.output.dense.{{p}}': f'{_HOST_LAYER}.attn.proj.{{p}}',
        f'{layer}.layernorm_after.{{p}}': f'{_HOST_LAYER}.ln2.{{p}}',
        f'{layer}.intermediate.dense.{{p}}': f'{_HOST_LAYER}.ffn.layers.0.0.{{p}}',
        f'{layer}.output.dense.{{p}}': f'{_HOST_LAYER}.ffn.layers.1.{{p}}',
        f'{prefix}layernorm.{{p}}': 'backbone.ln1.{p}',
    }
    rules = [KeyRule(source, target) for source, target in pairs.items()]
    return [*rules, *without_prefix(rules, prefix)]


#: ``ViTModel``, ``ViTForImageClassification``, and the encoder of ``ViTMAEForPreTraining``.
HUGGING_FACE_VIT = KeyTable(
    [*_hugging_face('vit.'), KeyRule('classifier.{p}', 'head.layers.head.{p}')],
    dropped={
        r'(vit\.)?pooler\..*': 'the head reads the class token, not the pooler',
        r'(vit\.)?embeddings\.mask_token': 'it stood for hidden patches in the training',
        r'decoder\..*': 'it paints hidden patches of MAE, which no host does',
    },
)
#: ``DeiTModel``, ``DeiTForImageClassificationWithTeacher``. The host is
#: ``DistilledVisionTransformer`` with ``DeiTClsHead``.
HUGGING_FACE_DEIT = KeyTable(
    [
        *_hugging_face('deit.'),
        KeyRule('cls_classifier.{p}', 'head.layers.head.{p}'),
        KeyRule('distillation_classifier.{p}', 'head.layers.head_dist.{p}'),
    ],
    dropped={
        r'(deit\.)?pooler\..*': 'the heads read the tokens, not the pooler',
        r'(deit\.)?embeddings\.mask_token': 'it stood for hidden patches in the training',
        r'decoder\..*': 'it paints hidden patches, which no host does',
    },
    refused={
        r'classifier\..*': 'its head reads one of the two tokens, that of the host both. Fix: '
        'take a DeiTForImageClassificationWithTeacher'
    },
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
        f'{prefix}embeddings.position_embeddings': _POSITIONS,
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
        r'(dinov2\.)?embeddings\.mask_token': _MASK_TOKEN,
        r'classifier\..*': 'it reads the mean of the patches, too; heads of hosts have classes of '
        'their own',
    },
    refused={r'(\w+\.)?embeddings\.register_tokens': _NO_REGISTERS},
)
