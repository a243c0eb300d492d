"""What timm, Meta and Microsoft call the weights of ViTs that Hugging Face has, too."""

import re

import pytest
import torch
import transformers as t

from knowswap_mm.converters import TABLES, kind_of
from knowswap_mm.errors import CheckpointError
from tests.helpers.tiny_hosts import randomise
from tests.test_converters.test_hugging_face import (
    ARCH,
    SHAPE,
    close,
    images,
    swin_v2,
    swin_v2_host,
)
from tests.test_converters.test_hugging_face import loaded as load_and_revert
from tests.test_converters.test_public_weights import newer

#: From Hugging Face's names to those of the ViTs of timm; the first that fits is used.
NAMES = [
    (r'embeddings\.(cls_token|mask_token)', r'\1'),
    (r'embeddings\.distillation_token', 'dist_token'),
    (r'embeddings\.position_embeddings', 'pos_embed'),
    (r'embeddings\.patch_embeddings\.projection', 'patch_embed.proj'),
    (r'encoder\.layer\.(\d+)\.(norm1|layernorm_before)', r'blocks.\1.norm1'),
    (r'encoder\.layer\.(\d+)\.(norm2|layernorm_after)', r'blocks.\1.norm2'),
    (r'encoder\.layer\.(\d+)\.attention\.output\.dense', r'blocks.\1.attn.proj'),
    (r'encoder\.layer\.(\d+)\.layer_scale(\d)\.lambda1', r'blocks.\1.ls\2.gamma'),
    (r'encoder\.layer\.(\d+)\.lambda_(\d)', r'blocks.\1.gamma_\2'),
    (r'encoder\.layer\.(\d+)\.mlp\.weights_in', r'blocks.\1.mlp.w12'),
    (r'encoder\.layer\.(\d+)\.mlp\.weights_out', r'blocks.\1.mlp.w3'),
    (r'encoder\.layer\.(\d+)\.mlp', r'blocks.\1.mlp'),
    (r'encoder\.layer\.(\d+)\.intermediate\.dense', r'blocks.\1.mlp.fc1'),
    (r'encoder\.layer\.(\d+)\.output\.dense', r'blocks.\1.mlp.fc2'),
    (r'encoder\.layer\.(\d+)\.attention\.attention\.relative_position_bias', r'blocks.\1.attn'),
    (r'pooler\.layernorm', 'fc_norm'),
    (r'layernorm', 'norm'),
    (r'cls_classifier', 'head'),
    (r'distillation_classifier', 'head_dist'),
]


class Stated:
    """A state dict in place of its model."""

    def __init__(self, state):
        self.state = state

    def state_dict(self):
        return self.state


class Named(Stated):
    """The state of a model of Hugging Face under other names."""

    def __init__(self, model):
        super().__init__({})
        parts = {}
        for key, value in model.state_dict().items():
            if found := re.fullmatch(
                r'encoder\.layer\.(\d+)\.\w+\.\w+\.(query|key|value)\.(.*)', key
            ):
                parts.setdefault((found[1], found[3]), {})[found[2]] = value
                continue
            source, target = next(pair for pair in NAMES if re.match(pair[0], key))
            self.state[re.sub(source, target, key, count=1)] = value
        for (layer, kind), found in parts.items():
            block = f'blocks.{layer}.attn'
            if len(found) == 3:
                joined = torch.cat([found[name] for name in ('query', 'key', 'value')])
                self.state[f'{block}.qkv.{kind}'] = joined
            else:  # BEiT's keys have no bias
                self.state |= {f'{block}.{name[0]}_bias': value for name, value in found.items()}


def dinov2(**changes):
    shape = {key: value for key, value in SHAPE.items() if key != 'intermediate_size'}
    return randomise(t.Dinov2Model(t.Dinov2Config(**shape, mlp_ratio=2, **changes))).eval()


@pytest.mark.parametrize('giant', [False, True])
@torch.no_grad()
def test_dinov2(giant):
    original = dinov2(use_swiglu_ffn=giant)
    hidden = 64
    host = dict(type='mmpretrain.VisionTransformer', layer_scale_init_value=1e-5)
    if giant:  # the host takes two thirds of the number, as the original does
        host['layer_cfgs'] = dict(ffn_type='swiglu_fused')
    norm = dict(type='LN', eps=1e-6)
    arch = dict(ARCH, feedforward_channels=hidden)
    model, found = load_and_revert('timm-vit', Named(original), **host, norm_cfg=norm, arch=arch)
    assert list(found.dropped) == ['mask_token']
    close(model(images())[0], original(images()).pooler_output)


@torch.no_grad()
def test_deit_3():
    """It adds positions to the patches alone, before the class token comes."""
    original = dinov2()
    original.embeddings.position_embeddings[:, 0] = 0
    named = Named(original)
    del named.state['mask_token']
    named.state['pos_embed'] = named.state['pos_embed'][:, 1:]
    host = dict(type='mmpretrain.VisionTransformer', layer_scale_init_value=1e-5)
    norm, arch = dict(type='LN', eps=1e-6), dict(ARCH, feedforward_channels=64)
    model, _ = load_and_revert('timm-vit', named, **host, norm_cfg=norm, arch=arch)
    close(model(images())[0], original(images()).pooler_output)


@torch.no_grad()
def test_the_distilled_deit():
    original = randomise(t.DeiTModel(t.DeiTConfig(**SHAPE), add_pooling_layer=False)).eval()
    host = dict(type='mmpretrain.DistilledVisionTransformer')
    model, _ = load_and_revert('timm-vit', Named(original), **host)
    close(model(images())[0][1], original(images()).last_hidden_state[:, 1])


@torch.no_grad()
def test_beit():
    config = t.BeitConfig(**SHAPE, use_relative_position_bias=True)
    original = randomise(t.BeitModel(config)).eval()
    host = dict(type='mmpretrain.BEiTViT')
    model, _ = load_and_revert('beit', Named(original), **host)
    close(model(images())[0], original(images()).pooler_output)


#: The same for Swin v2; the number of a merging is that of Microsoft.
SWIN_NAMES = [
    (r'embeddings\.norm', 'patch_embed.norm'),
    (r'embeddings\.patch_embeddings\.projection', 'patch_embed.proj'),
    (r'(encoder\.)(layers\.\d+\.)(blocks\.\d+\.)attention\.output\.dense', r'\2\3attn.proj'),
    (r'(encoder\.)(layers\.\d+\.)(blocks\.\d+\.)layernorm_before', r'\2\3norm1'),
    (r'(encoder\.)(layers\.\d+\.)(blocks\.\d+\.)layernorm_after', r'\2\3norm2'),
    (r'(encoder\.)(layers\.\d+\.)(blocks\.\d+\.)intermediate\.dense', r'\2\3mlp.fc1'),
    (r'(encoder\.)(layers\.\d+\.)(blocks\.\d+\.)output\.dense', r'\2\3mlp.fc2'),
    (
        r'(encoder\.)(layers\.\d+\.)(blocks\.\d+\.)attention\.self\.continuous_position_bias_mlp',
        r'\2\3attn.cpb_mlp',
    ),
    (r'(encoder\.)(layers\.\d+\.)(blocks\.\d+\.)attention\.self\.', r'\2\3attn.'),
    (r'encoder\.', ''),
    ('layernorm', 'norm'),
]


@pytest.mark.parametrize('kind', ['swinv2', 'timm-swinv2'])
@torch.no_grad()
def test_swin_v2(kind):
    original, state = swin_v2(4, 3), {}
    for key, value in original.state_dict().items():
        source, target = next(pair for pair in SWIN_NAMES if re.match(pair[0], key))
        state[re.sub(source, target, key, count=1)] = value
    for key in [key for key in state if key.endswith('attn.query.weight')]:
        parts = [state.pop(key.replace('query', name)) for name in ('query', 'key', 'value')]
        state[key.replace('query', 'qkv')] = torch.cat(parts)
    state = {key.replace('query.', 'q_').replace('value.', 'v_'): v for key, v in state.items()}
    state['layers.0.blocks.0.attn.relative_coords_table'] = torch.zeros(1)
    if kind.startswith('timm'):
        state = {newer(key): value for key, value in state.items()}
    model, found = load_and_revert(kind, Stated(state), **swin_v2_host(4, 3))
    assert len(found.dropped) == 1
    wanted = original(images(64)).last_hidden_state
    close(model(images(64))[0].flatten(2).transpose(1, 2), wanted)


@pytest.mark.parametrize('name', ['reg_token', 'register_tokens'])
def test_registers_are_refused(name):
    state = Named(dinov2()).state | {name: torch.zeros(1, 4, 32)}
    with pytest.raises(CheckpointError, match='no registers'):
        TABLES[kind_of(state)].convert(state)
