import copy
import pickle

import mmcv.cnn
import pytest
import torch
from tiny_hosts import batch, build_host, build_swapper, randomise_adapters, resnet_host, vit_host
from torch import nn

from knowswap_mm.acceleration import LowPrecisionBase
from knowswap_mm.acceleration.frozen_cache import FrozenCache
from knowswap_mm.acceleration.low_precision_weights import LowPrecisionWeights
from knowswap_mm.lora import LoRAInjector, merge_adapters
from knowswap_mm.lora.lora_injector import lora_layers

PICTURES = batch(['learn'])[0]['learn']
LAYERS = dict(
    linear=(lambda: nn.Linear(6, 5), (7, 6)),
    without_bias=(lambda: nn.Linear(6, 5, bias=False), (7, 6)),
    convolution=(lambda: nn.Conv2d(6, 5, 3, 2, padding_mode='circular', padding=1), (2, 6, 7, 7)),
    mmcv=(lambda: mmcv.cnn.Linear(6, 5), (7, 6)),
)


def bf16():
    return torch.autocast('cpu', torch.bfloat16)


@pytest.fixture(params=LAYERS)
def case(request):
    """A frozen layer, the same one with a kept copy, and an input."""
    make, shape = LAYERS[request.param]
    layer = nn.Sequential(make()).requires_grad_(False)
    fast = copy.deepcopy(layer)
    assert LowPrecisionBase().apply(fast) == 1
    return layer, fast, torch.randn(shape, requires_grad=True)


@pytest.fixture
def casts(monkeypatch):
    """An entry for each value that a cache had computed."""
    made = []
    make = FrozenCache._made
    monkeypatch.setattr(
        FrozenCache, '_made', staticmethod(lambda *args: made.append(1) or make(*args))
    )
    return made


def assert_equal(layer, fast, x):
    """Bit by bit, in autocast's types and outside of it."""
    for context in (
        bf16(),
        torch.autocast('cpu', torch.float16),
        torch.autocast('cpu', None, False),
    ):
        results = []
        for model in (layer, fast):
            with context:
                out = model(x)
            (gradient,) = torch.autograd.grad(out.sum(), x)
            results.append((out, gradient))
        for found, wanted in zip(results[1], results[0], strict=True):
            assert found.dtype == wanted.dtype
            assert torch.equal(found, wanted)


def test_equals_autocast(case):
    assert_equal(*case)


def test_casts_once(case, casts):
    _, fast, x = case
    with bf16():
        for _ in range(3):
            fast(x)
    assert casts == [1]
    fast(x)
    assert casts == [1], 'nothing is cast outside of autocast'


@torch.no_grad()
def change(layer, how):
    weight = layer[0].weight
    if how == 'in place':
        weight.add_(1)
    elif how == 'assigned':
        layer[0].weight = nn.Parameter(weight + 1, requires_grad=False)
    elif how == 'data':
        weight.data = weight + 1
    elif how == 'loaded':
        layer.load_state_dict({key: value + 1 for key, value in layer.state_dict().items()})
    elif how == 'loaded by assignment':
        state = {key: value + 1 for key, value in layer.state_dict().items()}
        layer.load_state_dict(state, assign=True)
    elif how == 'cast':
        layer.double()
        weight.data.add_(1)
        layer.float()
    elif how == 'written through data between modes':
        layer.eval()
        weight.data.add_(1)
        layer.train()
    elif how == 'bias':
        layer[0].bias.add_(1)


CHANGES = ['in place', 'assigned', 'data', 'loaded', 'loaded by assignment', 'cast', 'bias']


@pytest.mark.parametrize('how', [*CHANGES, 'written through data between modes'])
def test_a_change_is_noticed(how):
    layer = nn.Sequential(nn.Linear(6, 5)).requires_grad_(False)
    fast = copy.deepcopy(layer)
    LowPrecisionBase().apply(fast)
    x = torch.randn(7, 6, requires_grad=True)
    with bf16():
        before = fast(x)
    for model in (layer, fast):
        change(model, how)
    assert_equal(layer, fast, x)
    with bf16():
        assert not torch.equal(fast(x), before)


def test_a_weight_that_trains_gets_its_gradient(case):
    layer, fast, x = case
    with bf16():
        fast(x)
    gradients = []
    for model in (layer, fast):
        model.requires_grad_(True)
        with bf16():
            model(x).sum().backward()
        gradients.append(model[0].weight.grad)
    assert torch.equal(*gradients)
    trains = nn.Sequential(nn.Linear(2, 2))
    assert LowPrecisionBase().apply(trains) == 0


def test_copies_start_without_a_cast(case, casts):
    layer, fast, x = case
    with bf16():
        fast(x)
    twin = copy.deepcopy(fast)
    assert twin[0]._frozen_cache is not fast[0]._frozen_cache
    assert type(twin[0]) is type(fast[0])
    assert list(twin.state_dict()) == list(layer.state_dict())
    assert_equal(layer, twin, x)
    empty = pickle.loads(pickle.dumps(fast[0]._frozen_cache))
    assert empty._value is None


def test_what_was_cast_in_inference_mode_serves_in_training(case):
    layer, fast, x = case
    with bf16(), torch.inference_mode():
        fast(x)
    assert_equal(layer, fast, x)
    with torch.inference_mode():
        twins = [copy.deepcopy(model) for model in (layer, fast)]
        with bf16():
            assert torch.equal(twins[0](x), twins[1](x))


@pytest.mark.parametrize('names', [[], ['LeanLoRA']])
def test_merging_in_place_is_noticed(names):
    """peft writes through ``data``; an unsafe merge leaves address and version as they are."""
    for safe in (False, True):
        swappers = [
            randomise_adapters(build_swapper(accelerations=each)).eval()
            for each in (names, [*names, 'LowPrecisionBase'])
        ]
        for act in ('merge', 'unmerge', 'merge'):
            outputs = []
            for swapper in swappers:
                with bf16(), torch.no_grad():
                    swapper(PICTURES)
                    for _, layer in lora_layers(swapper):
                        layer.unmerge() if act == 'unmerge' else layer.merge(safe_merge=safe)
                    outputs.append(swapper(PICTURES))
            assert torch.equal(*outputs)
        for swapper in swappers:
            for _, layer in lora_layers(swapper):
                layer.unmerge()
            merge_adapters(swapper.host)
        with bf16(), torch.no_grad():
            assert torch.equal(*(swapper(PICTURES) for swapper in swappers))


@pytest.mark.parametrize(
    'host, targets', [(vit_host(), {}), (resnet_host(), dict(targets=r'.*layer4\.\d\.conv\d'))]
)
def test_all_frozen_layers_of_a_host(host, targets):
    model = LoRAInjector(**targets).inject(build_host(host))
    plain = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    adapters = [m for name, m in model.named_modules() if '.lora_' in name]
    frozen = [m for m in plain if not any(m is adapter for adapter in adapters)]
    assert LowPrecisionBase().apply(model) == len(frozen)
    assert all(isinstance(module, LowPrecisionWeights) for module in frozen)
    assert not any(isinstance(module, LowPrecisionWeights) for module in adapters)
    with torch.no_grad(), bf16():
        wanted = LoRAInjector(**targets).inject(build_host(host))(PICTURES)
        assert torch.equal(model.eval()(PICTURES), wanted)


@pytest.mark.parametrize('names', [['LowPrecisionBase'], ['LowPrecisionBase', 'LeanLoRA']])
def test_compiled_code_casts_as_before(names):
    swapper = randomise_adapters(build_swapper(accelerations=names)).eval()
    ffn = swapper.host.backbone.layers[0].ffn.layers
    compiled = torch.compile(ffn, backend='eager', fullgraph=True)
    x = torch.randn(3, 32)
    with bf16(), torch.no_grad():
        torch.testing.assert_close(compiled(x), ffn(x))
        for _, layer in lora_layers(ffn):
            layer.base_layer.weight.mul_(2)
        torch.testing.assert_close(compiled(x), ffn(x))
