"""Configs of classifiers' backbones, by the shapes of weights and the config.json beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from knowswap_mm.converters.tables.vit import side_of
from knowswap_mm.errors import CheckpointError

_ACTIVATIONS = {'gelu': 'GELU', 'quick_gelu': 'mmpretrain.QuickGELU', 'relu': 'ReLU'}
_SWIN_EPS = 1e-5  # of the norms in the host's blocks; its config does not reach them


def vit(state: Mapping[str, Tensor], heads: int = 0, **options: Any) -> dict[str, Any]:
    """A ViT by the shapes of its weights; without a number, heads have 64 channels.

    Raises:
        CheckpointError: If a weight is missing that tells the shape, or heads have other channels.
    """
    for key in ('cls_token', 'pos_embed', 'patch_embed.projection.weight'):
        if f'backbone.{key}' not in state:
            raise CheckpointError(f'The weights have no {key}. Fix: give those of a plain ViT.')
    patch = state['backbone.patch_embed.projection.weight'].shape[-1]
    kind = 'DistilledVisionTransformer' if 'backbone.dist_token' in state else 'VisionTransformer'
    if 'backbone.layers.0.attn.gamma1.weight' in state:
        options['layer_scale_init_value'] = 1e-5  # above 0: there are some, which the file fills
    if 'backbone.pre_norm.weight' in state:
        options['pre_norm'] = True
    if 'backbone.layers.0.attn.qkv.bias' not in state:
        options['qkv_bias'] = False
    if 'backbone.ln2.weight' in state:
        options.update(out_type='avg_featmap', final_norm='backbone.ln1.weight' in state)
    arch, size = _arch(state, heads), side_of(state) * patch
    return dict(type=kind, arch=arch, img_size=size, patch_size=patch, **options)


def beit(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Any]:
    """A BEiT of Hugging Face; the mean of the patches is read, or the class token."""
    mean = 'backbone.ln2.weight' in state
    return dict(
        type='BEiTViT',
        arch=_arch(state, config['num_attention_heads']),
        img_size=config['image_size'],
        patch_size=config['patch_size'],
        out_type='avg_featmap' if mean else 'cls_token',
        final_norm='backbone.ln1.weight' in state,
        use_abs_pos_emb='backbone.pos_embed' in state,
        use_rel_pos_bias='backbone.layers.0.attn.relative_position_bias_table' in state,
        use_shared_rel_pos_bias='backbone.rel_pos_bias.relative_position_bias_table' in state,
        layer_scale_init_value=0.1 if 'backbone.layers.0.gamma_1' in state else 0.0,
        norm_cfg=dict(type='LN', eps=config.get('layer_norm_eps', 1e-12)),
    )


def _arch(state: Mapping[str, Tensor], heads: int) -> dict[str, int]:
    width = state['backbone.cls_token'].shape[-1]
    if not heads and width % 64:
        raise CheckpointError(
            f'The weights are {width} wide, which is no number of heads of 64 channels. Fix: give '
            'those of the named model.'
        )
    layers = [key for key in state if key.endswith('.ffn.layers.0.0.weight')]
    return dict(
        embed_dims=width,
        num_layers=len(layers),
        num_heads=heads or width // 64,
        feedforward_channels=state[layers[0]].shape[0] if layers else 4 * width,
    )


def swin(config: Mapping[str, Any]) -> dict[str, Any]:
    """A Swin of Hugging Face."""
    arch = dict(
        embed_dims=config['embed_dim'],
        depths=list(config['depths']),
        num_heads=list(config['num_heads']),
    )
    return dict(
        type='SwinTransformer',
        arch=arch,
        img_size=config['image_size'],
        patch_size=config['patch_size'],
        window_size=config['window_size'],
        norm_cfg=dict(type='LN', eps=config.get('layer_norm_eps', _SWIN_EPS)),
    )


def swin_v2(config: Mapping[str, Any]) -> dict[str, Any]:
    """A Swin v2 of Hugging Face, whose windows shrink to the map of a stage.

    Raises:
        CheckpointError: If a stage is one patch, or the norms are others than those of the host.
    """
    found = swin(config)
    eps = found.pop('norm_cfg')['eps']
    if eps != _SWIN_EPS:
        raise CheckpointError(
            f'layer_norm_eps is {eps}, and that of SwinTransformerV2 {_SWIN_EPS}. Fix: take a '
            'model with it.'
        )
    stages = range(len(found['arch']['depths']))
    side = found['img_size'] // found['patch_size']
    windows = [min(found['window_size'], side // 2**stage) for stage in stages]
    if min(windows) < 2:
        raise CheckpointError(
            f'The windows of the stages have {windows} patches a side, and SwinTransformerV2 '
            'needs two. Fix: take a model of larger images.'
        )
    pretrained = list(config.get('pretrained_window_sizes') or [0] * len(windows))
    found['arch']['extra_norm_every_n_blocks'] = 0
    return dict(
        found,
        type='SwinTransformerV2',
        window_size=windows,
        pretrained_window_sizes=pretrained,
    )


def activation(name: str) -> dict[str, str]:
    """The host's config of an activation of Hugging Face.

    Raises:
        CheckpointError: If the host has none that gives the same numbers.
    """
    if name not in _ACTIVATIONS:
        fix = f'take a model with one of {", ".join(_ACTIVATIONS)}'
        raise CheckpointError(f'hidden_act is {name!r}, which is not known. Fix: {fix}.')
    return dict(type=_ACTIVATIONS[name])
