"""Backbones of Hugging Face, with its own models as the measure; their kind is recognised."""

import mmpretrain.models  # noqa: F401  registers the hosts
import pytest
import torch
import transformers as t
from mmengine.registry import MODELS

from knowswap_mm.converters import TABLES, kind_of
from knowswap_mm.errors import CheckpointError
from knowswap_mm.models.host_state import prepare_state
from tests.helpers.tiny_hosts import randomise

SIZE, PATCH = 32, 8
SHAPE = dict(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
    image_size=SIZE, patch_size=PATCH,
)  # fmt: skip
ARCH = dict(embed_dims=32, num_layers=2, num_heads=4, feedforward_channels=48)
#: Single precision, sums in another order.
CLOSE = dict(rtol=1e-5, atol=1e-5)


def images(size=SIZE):
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(3))


def loaded(kind, original, **host):
    """The host with the weights, loaded strictly; what is written back is what was read.

    Buffers that are converted, or computed, are those that the host has.
    """
    state = original.state_dict()
    assert kind_of(state) == kind
    conversion = TABLES[kind].convert(state)
    config = dict(arch=ARCH, img_size=SIZE, patch_size=PATCH, norm_cfg=dict(type='LN', eps=1e-12))
    model = MODELS.build(dict(config, **host))
    model.eval()  # a backbone's gives nothing back
    prepare_state(model)
    weights = {k.removeprefix('backbone.'): v for k, v in conversion.state.items()}
    own = {key: value for key, value in model.named_buffers() if key in weights}
    assert all(torch.equal(value, weights[key]) for key, value in own.items())
    model.load_state_dict(weights)
    back = TABLES[kind].revert(conversion.state)
    named = {key: value for key, value in state.items() if key not in conversion.dropped}
    # The shortest, as norm.weight is the end of several.
    ends = {k: min((b for b in back if f'.{b}'.endswith(f'.{k}')), key=len) for k in named}
    assert len(back) == len(named)
    assert all(torch.equal(back[ends[key]], value) for key, value in named.items())
    return model, conversion


@torch.no_grad()
def close(found, wanted):
    torch.testing.assert_close(found, wanted, **CLOSE)


@torch.no_grad()
def test_the_vision_tower_of_clip():
    config = t.CLIPVisionConfig(**SHAPE, hidden_act='quick_gelu')
    original = randomise(t.CLIPVisionModel(config)).eval()
    quick = dict(act_cfg=dict(type='mmpretrain.QuickGELU'))
    norm = dict(type='LN', eps=config.layer_norm_eps)
    host = dict(type='mmpretrain.VisionTransformer', pre_norm=True, layer_cfgs=quick, norm_cfg=norm)
    model, _ = loaded('huggingface-clip', original, **host)
    close(model(images())[0], original(images()).pooler_output)


def test_both_towers_of_clip():
    """That of texts is dropped, and what leads to the common space."""
    text = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    config = t.CLIPConfig(text_config=text, vision_config=SHAPE, projection_dim=16)
    state = randomise(t.CLIPModel(config)).state_dict()
    found = TABLES[kind_of(state)].convert(state)
    assert {'visual_projection.weight', 'text_projection.weight', 'logit_scale'} <= set(
        found.dropped
    )
    alone = {key: value for key, value in state.items() if key.startswith('vision_model.')}
    assert TABLES['huggingface-clip'].convert(alone).state.keys() == found.state.keys()


_POSITIONS = 'use_relative_position_bias', 'use_shared_relative_position_bias'


@pytest.mark.parametrize('changes', [
    {'use_mean_pooling': True, _POSITIONS[0]: True},
    {'use_mean_pooling': False, _POSITIONS[0]: True},
    {'use_mean_pooling': True, _POSITIONS[0]: True, 'layer_scale_init_value': 0},
    {'use_mean_pooling': False, _POSITIONS[1]: True, 'use_absolute_position_embeddings': True},
])  # fmt: skip
@torch.no_grad()
def test_beit(changes):
    original = randomise(t.BeitModel(t.BeitConfig(**SHAPE, **changes))).eval()
    mean = changes['use_mean_pooling']
    host = dict(
        type='mmpretrain.BEiTViT',
        final_norm=not mean,
        out_type='avg_featmap' if mean else 'cls_token',
        use_rel_pos_bias='use_relative_position_bias' in changes,
        use_abs_pos_emb='use_absolute_position_embeddings' in changes,
        use_shared_rel_pos_bias='use_shared_relative_position_bias' in changes,
        layer_scale_init_value=changes.get('layer_scale_init_value', 0.1),
    )
    model, _ = loaded('huggingface-beit', original, **host)
    close(model(images())[0], original(images()).pooler_output)


@torch.no_grad()
def test_the_distilled_deit():
    original = randomise(t.DeiTModel(t.DeiTConfig(**SHAPE), add_pooling_layer=False)).eval()
    model, _ = loaded('huggingface-deit', original, type='mmpretrain.DistilledVisionTransformer')
    wanted = original(images()).last_hidden_state
    for found, position in zip(model(images())[0], (0, 1), strict=True):
        close(found, wanted[:, position])


@pytest.mark.parametrize('whole', [True, False], ids=['with decoder', 'encoder'])
@torch.no_grad()
def test_the_encoder_of_mae(whole):
    """Nothing is hidden, and the noise that orders the patches leaves them in order."""
    decoder = dict(
        decoder_hidden_size=32, decoder_num_hidden_layers=1, decoder_num_attention_heads=2
    )
    config = t.ViTMAEConfig(**SHAPE, **decoder, mask_ratio=0.0)
    original = randomise((t.ViTMAEForPreTraining if whole else t.ViTMAEModel)(config)).eval()
    host = dict(type='mmpretrain.VisionTransformer', out_type='raw')
    model, conversion = loaded('huggingface-vit', original, **host)
    assert all(key.startswith('decoder.') for key in conversion.dropped)
    order = torch.arange((SIZE // PATCH) ** 2).float().repeat(2, 1)
    encoder = original.vit if whole else original
    close(model(images())[0], encoder(images(), noise=order).last_hidden_state)


def swin_v2(window, pretrained, depths=(1, 2, 1, 1)):
    shape = dict(embed_dim=8, depths=list(depths), num_heads=[1, 1, 2, 2], window_size=window)
    config = t.Swinv2Config(
        **shape, image_size=64, patch_size=2, pretrained_window_sizes=[pretrained] * 4
    )
    return randomise(t.Swinv2Model(config)).eval()


def swin_v2_host(window, pretrained):
    arch = dict(embed_dims=8, depths=[1, 2, 1, 1], num_heads=[1, 1, 2, 2])
    return dict(
        type='mmpretrain.SwinTransformerV2',
        arch=dict(arch, extra_norm_every_n_blocks=0),
        img_size=64,
        patch_size=2,
        window_size=window,
        pretrained_window_sizes=[pretrained] * 4,
        norm_cfg=dict(type='LN'),
    )


@pytest.mark.parametrize(('window', 'pretrained'), [(4, 0), (4, 3), (3, 0)])
@torch.no_grad()
def test_swin_v2(window, pretrained):
    """Windows are moved, as wide as the map, and do not divide it."""
    original = swin_v2(window, pretrained)
    model, _ = loaded('huggingface-swinv2', original, **swin_v2_host(window, pretrained))
    wanted = original(images(64)).last_hidden_state
    close(model(images(64))[0].flatten(2).transpose(1, 2), wanted)


@torch.no_grad()
def test_dinov2():
    shape = {**SHAPE, 'mlp_ratio': 2}
    shape.pop('intermediate_size')
    original = randomise(t.Dinov2Model(t.Dinov2Config(**shape))).eval()
    host = dict(type='mmpretrain.VisionTransformer', layer_scale_init_value=1e-5)
    norm = dict(type='LN', eps=1e-6)
    model, _ = loaded(
        'huggingface-dinov2',
        original,
        **host,
        norm_cfg=norm,
        arch=dict(ARCH, feedforward_channels=64),
    )
    close(model(images())[0], original(images()).pooler_output)


def test_registers_are_refused():
    shape = {**SHAPE, 'mlp_ratio': 2}
    shape.pop('intermediate_size')
    state = t.Dinov2WithRegistersModel(t.Dinov2WithRegistersConfig(**shape)).state_dict()
    with pytest.raises(CheckpointError, match='no registers'):
        TABLES[kind_of(state)].convert(state)


def test_a_deit_that_reads_one_token_is_refused():
    state = t.DeiTForImageClassification(t.DeiTConfig(**SHAPE)).state_dict()
    with pytest.raises(CheckpointError, match='WithTeacher'):
        TABLES[kind_of(state)].convert(state)


@pytest.mark.parametrize(
    ('keys', 'words'),
    [
        (
            ['layer1.0.conv1.weight', 'fc.weight'],
            '2 keys .layer1.0.conv1.weight.*huggingface-swinv2',
        ),
        (['backbone.layers.0.ln1.weight', 'head.fc.bias'], 'those of a host already'),
    ],
)
def test_what_is_not_recognised(keys, words):
    with pytest.raises(CheckpointError, match=words):
        kind_of(keys)
