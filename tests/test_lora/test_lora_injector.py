import math

import pytest
import torch

from knowswap_mm.errors import ConfigError
from knowswap_mm.lora import LoRAInjector
from knowswap_mm.lora.injector import adapter_parameters, lora_layers
from tests.helpers.tiny_hosts import batch, build_host, swin_host, trainable, vit_host

VIT_FFN = [f'backbone.layers.{i}.ffn.layers.{j}' for i in range(2) for j in ('0.0', '1')]
SWIN_FFN = [
    f'backbone.stages.{block}.ffn.layers.{j}'
    for block in ('0.blocks.0', '0.blocks.1', '1.blocks.0')
    for j in ('0.0', '1')
]


@pytest.mark.parametrize('config, expected', [(vit_host(), VIT_FFN), (swin_host(), SWIN_FFN)])
def test_defaults_hit_exactly_the_ffn_linears(config, expected):
    model = LoRAInjector().inject(build_host(config))
    assert [name for name, _ in lora_layers(model)] == expected


def test_default_initialisation_and_scale():
    torch.manual_seed(0)
    model = LoRAInjector().inject(build_host(vit_host()))
    for _, layer in lora_layers(model):
        a, b = layer.lora_A['default'].weight, layer.lora_B['default'].weight
        assert a.shape == (8, layer.in_features) and b.shape == (layer.out_features, 8)
        # Kaiming-uniform: gain sqrt(2 / (1 + a^2)), bound sqrt(3) * gain / sqrt(fan_in)
        bound = math.sqrt(3 * 2 / (1 + 50) / layer.in_features)
        assert 0.95 * bound < a.abs().max() <= bound
        assert a.std().item() == pytest.approx(math.sqrt(2 / 51 / layer.in_features), rel=0.15)
        assert torch.count_nonzero(b) == 0
        assert layer.scaling['default'] == 1 / 8
        assert layer.lora_A['default'].bias is None and layer.lora_B['default'].bias is None


def test_own_values_are_used():
    torch.manual_seed(0)
    injector = LoRAInjector(['proj'], rank=4, alpha=6, dropout=0.25, a_init=0, adapter_name='x')
    model = injector.inject(build_host(vit_host()))
    layers = dict(lora_layers(model))
    assert list(layers) == ['backbone.layers.0.attn.proj', 'backbone.layers.1.attn.proj']
    for layer in layers.values():
        assert layer.scaling['x'] == 1.5
        assert layer.lora_dropout['x'].p == 0.25
        bound = math.sqrt(3 * 2 / 32)
        assert 0.9 * bound < layer.lora_A['x'].weight.abs().max() <= bound


def test_only_adapters_are_trainable():
    model = LoRAInjector().inject(build_host(vit_host()))
    assert set(trainable(model)) == set(adapter_parameters(model))
    assert len(adapter_parameters(model)) == 2 * len(VIT_FFN)
    assert all('.lora_A.' in name or '.lora_B.' in name for name in trainable(model))


def test_convolutions_can_carry_adapters():
    model = build_host(vit_host())
    pictures = batch(['learn'])[0]['learn']
    before = model(pictures)
    LoRAInjector(r'.*projection').inject(model)
    assert [name for name, _ in lora_layers(model)] == ['backbone.patch_embed.projection']
    torch.testing.assert_close(model(pictures), before, rtol=0, atol=0)


def test_inject_leaves_the_logits_and_the_random_stream_of_the_host_alone():
    model = build_host(vit_host())
    pictures = batch(['learn'])[0]['learn']
    before = model(pictures)
    assert before.std() > 0.1
    assert torch.equal(LoRAInjector().inject(model)(pictures), before)


@pytest.mark.parametrize(
    'key, value',
    [
        *[('rank', value) for value in (0, -1, 2.0, '8', None, True)],
        *[('alpha', value) for value in (0, -1, 'x', None, True, math.nan, math.inf)],
        *[('dropout', value) for value in (-0.1, 1, 1.5, 'x', None, math.nan)],
        *[('a_init', value) for value in (-1, 'x', None, math.nan, math.inf)],
        *[('adapter_name', value) for value in ('', 'a.b', 3, None)],
        *[('targets', value) for value in (None, 5, [5], '(')],
        ('ranks', 8),
    ],
)
def test_bad_values_name_their_key(key, value):
    with pytest.raises(ConfigError) as error:
        LoRAInjector.from_config({key: value})
    assert error.value.key == f'model.lora.{key}'
    assert repr(value) in str(error.value) and 'Fix: ' in str(error.value)


@pytest.mark.parametrize(
    'targets',
    ['fc1', '', [], ['ffn'], r'layers\.0', r'.*ln1', ['layers.1', 'proj'], 'all'],
    ids=str,
)
def test_targets_that_fit_nothing(targets):
    with pytest.raises(ConfigError) as error:
        LoRAInjector(targets).inject(build_host(vit_host()))
    assert error.value.key == 'model.lora.targets'
    assert 'ffn.layers' in str(error.value), 'the message should show names that would fit'


def test_targets_that_are_embeddings():
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(5, 4)

    with pytest.raises(ConfigError, match='table is neither linear'):
        LoRAInjector(['table']).inject(Model())


def test_initialise_again():
    model = LoRAInjector().inject(build_host(vit_host()))
    with torch.no_grad():
        for parameter in adapter_parameters(model).values():
            parameter.fill_(3)
    LoRAInjector().initialise(model)
    for name, parameter in adapter_parameters(model).items():
        assert (parameter.abs().max() == 0) == ('.lora_B.' in name)
        assert parameter.abs().max() < 1
