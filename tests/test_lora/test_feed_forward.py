"""Feed-forward layers are found by their structure, in the backbones of all three libraries."""

import re

import mmdet.models  # noqa: F401  registers the hosts
import mmseg.models  # noqa: F401
import pytest
import torch
from mmcv.cnn.bricks.transformer import FFN
from mmengine.registry import MODELS
from torch import nn

from knowswap_mm.lora import LoRAInjector
from knowswap_mm.lora.injector import lora_layers
from knowswap_mm.lora.targets import FFN_LINEARS, find_feed_forward
from tests.helpers.tiny_hosts import build_host, dino_host, swin_host, vit_host


def names_by_pattern(model):
    """Targets by default, before layers were found by structure."""
    return [name for name, _ in model.named_modules() if re.fullmatch(FFN_LINEARS, name)]


@pytest.mark.parametrize(
    'config', [vit_host(), swin_host(), dino_host()], ids=['vit', 'swin', 'dino']
)
def test_known_hosts_keep_their_targets(config):
    model = build_host(config)
    expected = names_by_pattern(model)
    assert expected and find_feed_forward(model) == expected
    LoRAInjector().inject(model)
    assert [name for name, _ in lora_layers(model)] == expected
    assert find_feed_forward(model) == expected, 'adapters hide nothing'


BACKBONES = {
    'PoolFormer': ('mmpretrain', dict(arch='s12'), r'network\.\d\.\d\.mlp\.fc[12]', 24),
    'EfficientFormer': ('mmpretrain', dict(arch='l1'), r'network\.\d\.\d\.mlp\.fc[12]', 30),
    'MViT': ('mmpretrain', dict(arch='tiny'), r'blocks\.\d\.mlp\.fc[12]', 20),
    'HiViT': ('mmpretrain', dict(arch='tiny'), r'blocks\.\d+\.mlp\.fc[12]', 28),
    'ViTEVA02': ('mmpretrain', dict(arch='t'), r'layers\.\d+\.mlp\.w(12|3)', 24),
    'ConvNeXt': ('mmpretrain', dict(arch='atto'), r'stages\.\d\.\d\.pointwise_conv[12]', 24),
    'TinyViT': (
        'mmpretrain',
        dict(arch='5m'),
        r'stages\.\d\.blocks\.\d\.(mlp\.fc[12]|conv[13]\.conv2d)',
        24,
    ),
    'LeViT': ('mmpretrain', dict(arch='128s'), r'stages\.\d\.\d\.block\.linear[12]\.linear', 22),
    'VAN': ('mmpretrain', dict(arch='tiny'), r'blocks\d\.\d\.mlp\.fc[12]', 26),
    'DaViT': (
        'mmpretrain',
        dict(arch='t'),
        r'.*(spatial|channel)_block\.ffn\.layers\.(0\.0|1)',
        24,
    ),
    'PCPVT': ('mmpretrain', dict(arch='small'), r'stages\.\d\.\d\.ffn\.layers\.(0\.0|1)', 32),
    'MixVisionTransformer': ('mmseg', {}, r'layers\.\d\.1\.\d\.ffn\.layers\.[04]', 16 * 2),
    'MSCAN': ('mmseg', {}, r'block\d\.\d+\.mlp\.fc[12]', 32),
    'PyramidVisionTransformer': (
        'mmdet',
        dict(num_layers=[1] * 4),
        r'layers\.\d\.1\.\d\.ffn\.layers\.[03]',
        8,
    ),
    'PyramidVisionTransformerV2': (
        'mmdet',
        dict(num_layers=[1] * 4),
        r'layers\.\d\.1\.\d\.ffn\.layers\.[04]',
        8,
    ),
    'ResNet': ('mmpretrain', dict(depth=50), 'none', 0),
    'ShuffleNetV2': ('mmpretrain', {}, 'none', 0),
}


@pytest.mark.parametrize('kind', BACKBONES)
def test_backbones(kind):
    scope, settings, pattern, count = BACKBONES[kind]
    found = find_feed_forward(MODELS.build(dict(type=f'{scope}.{kind}', **settings)))
    assert len(found) == count
    assert [name for name in found if not re.fullmatch(pattern, name)] == []


class Named(nn.Module):
    """Children in the order of their registration."""

    def __init__(self, **children):
        super().__init__()
        for name, child in children.items():
            setattr(self, name, child)


def linear(inputs, outputs):
    return nn.Linear(inputs, outputs)


def conv(inputs, outputs, size=1, **settings):
    return nn.Conv2d(inputs, outputs, size, **settings)


FOUND = {
    'mlp': (
        lambda: dict(mlp=Named(up=linear(4, 8), act=nn.GELU(), down=linear(8, 4))),
        ['mlp.up', 'mlp.down'],
    ),
    'in the block': (lambda: dict(up=linear(4, 8), down=linear(8, 4)), ['up', 'down']),
    'beside projections': (
        lambda: dict(q=linear(4, 4), o=linear(4, 4), up=linear(4, 8), down=linear(8, 4)),
        ['up', 'down'],
    ),
    'beside attention': (
        lambda: dict(attn=nn.MultiheadAttention(4, 2), up=linear(4, 8), down=linear(8, 4)),
        ['up', 'down'],
    ),
    'bert': (
        lambda: dict(
            inner=Named(dense=linear(4, 8)), out=Named(dense=linear(8, 4), norm=nn.LayerNorm(4))
        ),
        ['inner.dense', 'out.dense'],
    ),
    'torch': (
        lambda: dict(layer=nn.TransformerEncoderLayer(4, 2, 8)),
        ['layer.linear1', 'layer.linear2'],
    ),
    'convolutions': (
        lambda: dict(up=conv(4, 8), norm=nn.BatchNorm2d(8), down=conv(8, 4)),
        ['up', 'down'],
    ),
    'depthwise between': (
        lambda: dict(up=conv(4, 8), mix=conv(8, 8, 3, padding=1, groups=8), down=conv(8, 4)),
        ['up', 'down'],
    ),
    'gate': (
        lambda: dict(mlp=Named(gate=linear(4, 6), up=linear(4, 6), down=linear(6, 4))),
        ['mlp.gate', 'mlp.up', 'mlp.down'],
    ),
    'gate as in llama': (
        lambda: dict(mlp=Named(w1=linear(4, 6), w2=linear(6, 4), w3=linear(4, 6))),
        ['mlp.w1', 'mlp.w2', 'mlp.w3'],
    ),
    'fused gate': (
        lambda: dict(mlp=Named(both=linear(4, 12), down=linear(6, 4))),
        ['mlp.both', 'mlp.down'],
    ),
    'square ones if there are no others': (
        lambda: dict(mlp=Named(up=linear(4, 4), down=linear(4, 4))),
        ['mlp.up', 'mlp.down'],
    ),
    'attention': (lambda: dict(attn=Named(qkv=linear(4, 12), proj=linear(4, 4))), []),
    'squeeze and excite': (lambda: dict(se=Named(down=conv(8, 2), up=conv(2, 8))), []),
    'bottleneck': (lambda: dict(a=conv(8, 4), b=conv(4, 4, 3), c=conv(4, 8)), []),
    'wide bottleneck': (lambda: dict(a=conv(4, 8), b=conv(8, 8, 3), c=conv(8, 4)), []),
    'three linear layers': (lambda: dict(a=linear(4, 4), b=linear(4, 4), c=linear(4, 2)), []),
}


@pytest.mark.parametrize('case', FOUND)
def test_structures(case):
    children, expected = FOUND[case]
    model = Named(blocks=nn.ModuleList([Named(**children()) for _ in range(2)]))
    if case in ('three linear layers',):  # h = d is a last resort
        model.blocks.append(Named(up=linear(4, 8), down=linear(8, 4)))
        found = [name for name in find_feed_forward(model) if not name.startswith('blocks.2.')]
    else:
        found = find_feed_forward(model)
    assert found == [f'blocks.{i}.{name}' for i in range(2) for name in expected]


def test_branches_of_heads_are_none():
    """`reg_ffn` of DETR's box head is an FFN of mmcv; a projector is no block."""
    ffn = dict(embed_dims=4, feedforward_channels=8, num_fcs=2)
    layers = nn.ModuleList([Named(ffn=FFN(**ffn))])
    head = Named(reg_ffn=FFN(**ffn), projector=nn.Sequential(linear(4, 8), linear(8, 4)))
    found = find_feed_forward(Named(layers=layers, bbox_head=head))
    assert found == ['layers.0.ffn.layers.0.0', 'layers.0.ffn.layers.1']


@torch.no_grad()
def test_the_encoder_of_torch_keeps_its_adapters_in_evaluation():
    """In evaluation it computes past its linear layers, unless one of them has a hook."""
    torch.manual_seed(0)
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), 2
    ).eval()
    x = torch.randn(2, 3, 8)
    before = encoder(x)
    LoRAInjector(rank=2).inject(encoder)
    torch.testing.assert_close(encoder(x), before)
    for _, layer in lora_layers(encoder):
        layer.lora_B['default'].weight.normal_()
    unmerged = encoder(x)
    assert (unmerged - before).abs().max() > 1e-3
    encoder.train()
    torch.testing.assert_close(encoder(x), unmerged)
