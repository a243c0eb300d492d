"""Microsoft's Swin, as the official detector and segmentor contain it."""

from __future__ import annotations

from torch import Tensor

from knowswap_mm.converters.key_table import KeyRule

# The original concatenates the four neighbours as (0,0), (1,0), (0,1), (1,1), each with all its
# channels; the hosts use torch's unfold: by channel, neighbours in reading order.
_ORDER = [0, 2, 1, 3]


def to_unfold(tensor: Tensor) -> Tensor:
    """Re-order the inputs of a patch merging (the last dimension) for the hosts."""
    shape = tensor.shape
    parts = tensor.reshape(*shape[:-1], 4, shape[-1] // 4)[..., _ORDER, :]
    return parts.transpose(-1, -2).reshape(shape)


def from_unfold(tensor: Tensor) -> Tensor:
    """Undo :func:`to_unfold`."""
    shape = tensor.shape
    parts = tensor.reshape(*shape[:-1], shape[-1] // 4, 4).transpose(-1, -2)
    return parts[..., _ORDER, :].reshape(shape)  # the order is its own inverse


def swin_rules(source: str) -> list[KeyRule]:
    """Rules of a Swin backbone.

    Args:
        source (str): Prefix of the backbone in the source, empty for none.
    """
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
