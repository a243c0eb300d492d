"""Layers whose adapter would not train or not merge are refused, with a pattern that fits."""

import re

import mmcv.cnn
import mmseg.models  # noqa: F401  registers the hosts
import pytest
import torch
from mmengine.registry import MODELS
from mmpretrain.models.utils import BEiTAttention, WindowMSAV2
from torch import nn
from torch.nn import functional as F

from knowswap_mm.errors import ConfigError
from knowswap_mm.lora import LoRAInjector
from knowswap_mm.lora.injector import lora_layers
from tests.helpers.tiny_hosts import build_host, new_swapper, resnet_host, swin_host, vit_host


class Model(nn.Module):
    """A layer named `inner.layer`, and a plain one beside it."""

    def __init__(self, layer=None, inner=None):
        super().__init__()
        self.inner = nn.Module() if inner is None else inner
        if layer is not None:
            self.inner.layer = layer
        self.plain = nn.Linear(8, 4)


class Doubling(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class SameAsLinear(nn.Linear):
    def forward(self, x):
        return super().forward(x)


class StandardisedConv(nn.Conv2d):
    def forward(self, x):
        weight = (self.weight - self.weight.mean()) / self.weight.std()
        return F.conv2d(x, weight, self.bias)


class ReadsWeights(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        return F.linear(x, self.layer.weight, self.layer.bias)


def shared():
    model = Model(nn.Linear(8, 8))
    model.other = nn.Module()
    model.other.layer = model.inner.layer
    return model


def tied():
    model = Model(nn.Linear(8, 8))
    model.table = nn.Embedding(8, 8)
    model.table.weight = model.inner.layer.weight
    return model


REFUSED = {
    'attention of torch': (
        lambda: Model(inner=nn.MultiheadAttention(8, 2)),
        'out_proj',
        'called: ',
    ),
    'attention of BEiT': (
        lambda: Model(inner=BEiTAttention(8, 2, (2, 2), False)),
        'qkv',
        'called: ',
    ),
    'attention of Swin V2': (lambda: Model(inner=WindowMSAV2(8, (2, 2), 2)), 'qkv', 'called: '),
    'weights that are read': (lambda: Model(inner=ReadsWeights()), 'layer', 'called: '),
    'groups': (lambda: Model(nn.Conv2d(8, 8, 3, groups=2)), 'layer', 'of 2 groups'),
    'depthwise': (lambda: Model(nn.Conv2d(8, 8, 3, groups=8)), 'layer', 'of 8 groups'),
    'dilation': (lambda: Model(nn.Conv2d(8, 8, 3, dilation=2)), 'layer', 'dilated'),
    'padding': (
        lambda: Model(nn.Conv2d(8, 8, 3, padding=1, padding_mode='reflect')),
        'layer',
        "pads by 'reflect'",
    ),
    'transposed': (
        lambda: Model(nn.ConvTranspose2d(8, 8, 3)),
        'layer',
        'neither linear nor a convolution',
    ),
    'norm': (lambda: Model(nn.LayerNorm(8)), 'layer', 'neither linear nor a convolution'),
    'weight norm': (
        lambda: Model(nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))),
        'layer',
        'is computed',
    ),
    'spectral norm': (
        lambda: Model(nn.utils.spectral_norm(nn.Linear(8, 8))),
        'layer',
        'is computed',
    ),
    'standardised': (lambda: Model(StandardisedConv(8, 8, 1)), 'layer', 'computes more'),
    'own forward': (lambda: Model(Doubling(8, 8)), 'layer', 'computes more'),
    'shared': (shared, 'layer', 'in several places'),
    'tied': (tied, 'layer', 'shares its weight'),
}


@pytest.mark.parametrize('case', REFUSED)
def test_refused(case):
    make, child, reason = REFUSED[case]
    with pytest.raises(ConfigError, match=rf'inner\.{child} .*{reason}') as caught:
        LoRAInjector(rf'inner\.{child}|plain').inject(make())
    assert caught.value.key == 'model.lora.targets'
    accepted(make(), caught.value)


def accepted(model, error):
    """Build with what a message offers."""
    pattern = re.search(r"model\.lora\.targets = r'([^']+)', which matches (\S+)\.", str(error))
    LoRAInjector(pattern[1]).inject(model)
    names = [name for name, _ in lora_layers(model)]
    assert pattern[2] in names
    return names


ACCEPTED = {
    'wrapper of mmcv': lambda: mmcv.cnn.Linear(8, 8),
    'own forward without change': lambda: SameAsLinear(8, 8),
    'convolution': lambda: nn.Conv2d(8, 6, 3, stride=2, padding=1),
    'dilation of one pixel': lambda: nn.Conv2d(8, 8, 1, dilation=2),
    'one dimension': lambda: nn.Conv1d(8, 8, 3),
}


@torch.no_grad()
@pytest.mark.parametrize('case', ACCEPTED)
def test_accepted_ones_merge_exactly(case):
    torch.manual_seed(0)
    model = LoRAInjector(['layer'], rank=2).inject(Model(ACCEPTED[case]()))
    layer = model.inner.layer
    layer.lora_B['default'].weight.normal_()
    x = torch.randn(2, 8, *[9] * (layer.weight.dim() - 2))
    unmerged = layer(x)
    layer.merge()
    torch.testing.assert_close(layer(x), unmerged, rtol=1e-4, atol=1e-5)


SEGFORMER = dict(type='mmseg.MixVisionTransformer', embed_dims=8, num_heads=[1, 1, 1, 1])
OFFERED = {
    'vit': (lambda: build_host(vit_host()), 'fc1', r'ffn'),
    'swin': (lambda: build_host(swin_host()), 'fc1', r'ffn'),
    'resnet': (lambda: build_host(resnet_host()), 'feed-forward', r'layer\d\.\d\.conv'),
    'segformer': (lambda: MODELS.build(SEGFORMER), r'.*attn\.attn\.out_proj', r'ffn\.layers\.[04]'),
    'a pattern that takes the depthwise one, too': (
        lambda: MODELS.build(SEGFORMER),
        r'.*ffn\.layers\.\d',
        r'ffn',
    ),
}


@pytest.mark.parametrize('case', OFFERED)
def test_messages_offer_what_is_accepted(case):
    make, targets, offered = OFFERED[case]
    with pytest.raises(ConfigError) as caught:
        LoRAInjector(targets).inject(make())
    assert all(re.search(offered, name) for name in accepted(make(), caught.value))


def test_class_rows_are_neither_target_nor_offered():
    with pytest.raises(ConfigError, match=r'head\.layers\.head has a row a class') as caught:
        new_swapper(lora=dict(targets=r'.*layers\.head'))
    assert all('head' not in name for name in accepted(build_host(vit_host()), caught.value))


def test_exclude_takes_layers_away():
    model = LoRAInjector(exclude=[r'layers\.0\.ffn']).inject(build_host(vit_host()))
    assert {name.split('.')[2] for name, _ in lora_layers(model)} == {'1'}
    with pytest.raises(ConfigError, match=r'model\.lora\.exclude.*leaves no target of 4'):
        LoRAInjector(exclude=['ffn']).inject(build_host(vit_host()))
