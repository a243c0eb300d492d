"""Swins: rules of Microsoft's, which official models contain; public classifiers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knowswap_mm.converters.key_table import KeyRule, KeyTable, without_prefix

if TYPE_CHECKING:
    from torch import Tensor

# The original concatenates the four neighbours as (0,0), (1,0), (0,1), (1,1), each with all its
# channels; the hosts use torch's unfold: by channel, neighbours in reading order.
_ORDER = [0, 2, 1, 3]


def to_unfold(tensor: Tensor) -> Tensor:
    """Re-order the inputs of a patch merging, ``(..., 4 * channels)``, for the hosts."""
    shape = tensor.shape
    parts = tensor.reshape(*shape[:-1], 4, shape[-1] // 4)[..., _ORDER, :]
    return parts.transpose(-1, -2).reshape(shape)


def from_unfold(tensor: Tensor) -> Tensor:
    """Undo :func:`to_unfold`."""
    shape = tensor.shape
    parts = tensor.reshape(*shape[:-1], shape[-1] // 4, 4).transpose(-1, -2)
    return parts[..., _ORDER, :].reshape(shape)  # the order is its own inverse


def swin_rules(source: str) -> list[KeyRule]:
    """Rules of a Swin backbone, with its prefix in the source, empty for none."""
    source = f'{source}.' if source else ''
    block, host_block = f'{source}layers.{{i}}.blocks.{{j}}', 'backbone.stages.{i}.blocks.{j}'
    merge, host_merge = f'{source}layers.{{i}}.downsample', 'backbone.stages.{i}.downsample'
    return [
        KeyRule(f'{source}patch_embed.proj.{{p}}', 'backbone.patch_embed.projection.{p}'),
        KeyRule(f'{source}patch_embed.norm.{{p}}', 'backbone.patch_embed.norm.{p}'),
        KeyRule(f'{block}.norm1.{{p}}', f'{host_block}.norm1.{{p}}'),
        KeyRule(f'{block}.norm2.{{p}}', f'{host_block}.norm2.{{p}}'),
        KeyRule(f'{block}.attn.{{p}}', f'{host_block}.attn.w_msa.{{p}}'),
        KeyRule(f'{block}.mlp.fc1.{{p}}', f'{host_block}.ffn.layers.0.0.{{p}}'),
        KeyRule(f'{block}.mlp.fc2.{{p}}', f'{host_block}.ffn.layers.1.{{p}}'),
        KeyRule(
            f'{merge}.reduction.weight', f'{host_merge}.reduction.weight', to_unfold, from_unfold
        ),
        KeyRule(f'{merge}.norm.{{p}}', f'{host_merge}.norm.{{p}}', to_unfold, from_unfold),
        KeyRule(f'{source}norm{{i}}.{{p}}', 'backbone.norm{i}.{p}'),
    ]


_LAST = 3  # of the stages
_MASKS = {r'layers\.\d+\.blocks\.\d+\.attn_mask': 'the host computes the masks of shifted windows'}
_HOST_BLOCK = 'backbone.stages.{i}.blocks.{j}'
_HOST_ATTENTION = f'{_HOST_BLOCK}.attn.w_msa'
_SELF = '{}.encoder.layers.{{i}}.blocks.{{j}}.attention.self'
_DERIVED = ['relative_position_index']
_DERIVED_V2 = [*_DERIVED, 'relative_coords_table']


def _merges(template: str, first: int, post_norm: bool = False) -> list[KeyRule]:
    """Patch mergings of a source that numbers them from ``first``.

    The host's version 2 begins a stage with them; the norm comes after, in the order of channels.
    """
    there, here = template + '.{}.{{p}}', 'backbone.stages.{}.downsample.{}.{{p}}'
    rules = []
    for stage in range(_LAST):
        for name in ('reduction', 'norm'):
            changes = () if post_norm and name == 'norm' else (to_unfold, from_unfold)
            source, target = there.format(stage + first, name), here.format(stage + post_norm, name)
            rules.append(KeyRule(source, target, *changes))
    return rules


#: A classifier has one norm, after the last stage.
_CLASSIFIER = [rule for rule in swin_rules('') if not rule.target.startswith('backbone.norm')]

#: Also timm's before 0.9.
MICROSOFT_SWIN = KeyTable(
    [
        *_CLASSIFIER,
        KeyRule('norm.{p}', f'backbone.norm{_LAST}.{{p}}'),
        KeyRule('head.{p}', 'head.fc.{p}'),
    ],
    dropped=_MASKS,
    derived=_DERIVED,
)
#: From 0.9 on a stage begins, not ends, with the merging.
TIMM_SWIN = KeyTable(
    [
        *_merges('layers.{}.downsample', 1),
        *(rule for rule in _CLASSIFIER if 'downsample' not in rule.target),
        KeyRule('norm.{p}', f'backbone.norm{_LAST}.{{p}}'),
        KeyRule('head.fc.{p}', 'head.fc.{p}'),
    ],
    dropped=_MASKS,
    derived=_DERIVED,
)


def _hugging_face(name: str) -> list[KeyRule]:
    """What both versions of Hugging Face share, but for the attention and the mergings."""
    block = f'{name}.encoder.layers.{{i}}.blocks.{{j}}'
    pairs = {
        f'{name}.embeddings.patch_embeddings.projection.{{p}}': 'backbone.patch_embed.'
        'projection.{p}',
        f'{name}.embeddings.norm.{{p}}': 'backbone.patch_embed.norm.{p}',
        f'{block}.layernorm_before.{{p}}': f'{_HOST_BLOCK}.norm1.{{p}}',
        f'{block}.attention.output.dense.{{p}}': f'{_HOST_BLOCK}.attn.w_msa.proj.{{p}}',
        f'{block}.layernorm_after.{{p}}': f'{_HOST_BLOCK}.norm2.{{p}}',
        f'{block}.intermediate.dense.{{p}}': f'{_HOST_BLOCK}.ffn.layers.0.0.{{p}}',
        f'{block}.output.dense.{{p}}': f'{_HOST_BLOCK}.ffn.layers.1.{{p}}',
        f'{name}.layernorm.{{p}}': f'backbone.norm{_LAST}.{{p}}',
    }
    return [KeyRule(source, target) for source, target in pairs.items()]


def _joined(source: str, kind: str) -> KeyRule:
    parts = [f'{source}.{name}.{kind}' for name in ('query', 'key', 'value')]
    return KeyRule(parts, f'{_HOST_ATTENTION}.qkv.{kind}')


_SWIN = [
    *_hugging_face('swin'),
    _joined(_SELF.format('swin'), 'weight'),
    _joined(_SELF.format('swin'), 'bias'),
    *(
        KeyRule(f'{_SELF.format("swin")}.{name}', f'{_HOST_ATTENTION}.{name}')
        for name in ('relative_position_bias_table', 'relative_position_index')
    ),
    *_merges('swin.encoder.layers.{}.downsample', 0),
]
#: ``SwinModel``, ``SwinForImageClassification``.
HUGGING_FACE_SWIN = KeyTable(
    [*_SWIN, *without_prefix(_SWIN, 'swin.'), KeyRule('classifier.{p}', 'head.fc.{p}')],
    derived=_DERIVED,
)
_SWIN_V2 = [
    *_hugging_face('swinv2'),
    _joined(_SELF.format('swinv2'), 'weight'),
    KeyRule(f'{_SELF.format("swinv2")}.query.bias', f'{_HOST_ATTENTION}.q_bias'),
    KeyRule(f'{_SELF.format("swinv2")}.value.bias', f'{_HOST_ATTENTION}.v_bias'),
    KeyRule(f'{_SELF.format("swinv2")}.logit_scale', f'{_HOST_ATTENTION}.logit_scale'),
    KeyRule(
        f'{_SELF.format("swinv2")}.continuous_position_bias_mlp.{{p}}',
        f'{_HOST_ATTENTION}.cpb_mlp.{{p}}',
    ),
    *_merges('swinv2.encoder.layers.{}.downsample', 0, post_norm=True),
]
#: ``Swinv2Model``, ``Swinv2ForImageClassification``. The host is ``SwinTransformerV2``.
HUGGING_FACE_SWIN_V2 = KeyTable(
    [*_SWIN_V2, *without_prefix(_SWIN_V2, 'swinv2.'), KeyRule('classifier.{p}', 'head.fc.{p}')],
    dropped={r'(swinv2\.)?embeddings\.mask_token': 'it stood for hidden patches'},
    derived=_DERIVED_V2,
)


def _version_2(first: int, head: str) -> KeyTable:
    """Version 2 of a source that numbers the mergings from ``first``."""
    return KeyTable(
        [
            *_merges('layers.{}.downsample', first, post_norm=True),
            *(rule for rule in _CLASSIFIER if 'downsample' not in rule.target),
            KeyRule('norm.{p}', f'backbone.norm{_LAST}.{{p}}'),
            KeyRule(head, 'head.fc.{p}'),
        ],
        dropped={
            **_MASKS,
            r'.*\.(relative_coords_table|relative_position_index)': 'the host computes it',
        },
        derived=_DERIVED_V2,
    )


MICROSOFT_SWIN_V2 = _version_2(0, 'head.{p}')
TIMM_SWIN_V2 = _version_2(1, 'head.fc.{p}')
