import copy

import pytest
import torch

from knowswap_mm.lora.tensors import is_adapter_key, plain_key
from knowswap_mm.models import SwappingLoss
from knowswap_mm.registry import MODELS
from tests.helpers.tiny_hosts import (
    OLD,
    TOTAL,
    build_host,
    build_swapper,
    changed,
    new_swapper,
    randomise_adapters,
    resnet_host,
    snapshot,
    swin_host,
    vit_backbone,
    vit_host,
)

HOSTS = {
    'vit': (vit_host, {}),
    'swin': (swin_host, {}),
    'resnet': (resnet_host, dict(lora=dict(targets=r'.*layer4.*conv\d'))),
}


@pytest.fixture(params=HOSTS)
def case(request):
    return HOSTS[request.param]


def test_a_plain_checkpoint_loads_strictly(case, tmp_path):
    config, settings = case
    plain = build_host(config(OLD), seed=3)
    torch.save(dict(state_dict=plain.state_dict()), tmp_path / 'plain.pth')
    state = torch.load(tmp_path / 'plain.pth', weights_only=True)['state_dict']
    swapper = new_swapper(config(), **settings)
    adapters = {name: p.detach().clone() for name, p in swapper.adapters.items()}
    result = swapper.load_state_dict(state, strict=True)
    assert not result.missing_keys and not result.unexpected_keys
    loaded = {
        plain_key(key): tensor
        for key, tensor in swapper.host.state_dict().items()
        if not is_adapter_key(key)
    }
    assert loaded.keys() == plain.state_dict().keys()
    for key, tensor in plain.state_dict().items():
        assert torch.equal(loaded[key][:OLD] if key.startswith('head.') else loaded[key], tensor)
    assert all(torch.equal(swapper.adapters[name], value) for name, value in adapters.items())


def test_a_missing_key_is_an_error(case):
    config, settings = case
    state = build_host(config(OLD)).state_dict()
    key = [key for key in state if key.endswith('.weight')][-3]
    del state[key]
    swapper = new_swapper(config(), **settings)
    with pytest.raises(RuntimeError, match='Missing key'):
        swapper.load_state_dict(state)


def test_an_unexpected_key_is_an_error(case):
    config, settings = case
    state = build_host(config(OLD)).state_dict()
    state['backbone.extra'] = torch.zeros(1)
    with pytest.raises(RuntimeError, match=r'Unexpected key.*host\.backbone\.extra'):
        new_swapper(config(), **settings).load_state_dict(state)


def test_a_missing_adapted_weight_is_an_error():
    state = build_host(vit_host(OLD)).state_dict()
    del state['backbone.layers.1.ffn.layers.1.weight']
    with pytest.raises(RuntimeError, match=r'Missing key.*base_layer'):
        new_swapper().load_state_dict(state)


def test_another_host_is_an_error():
    with pytest.raises(RuntimeError, match='Missing key'):
        new_swapper(vit_host()).load_state_dict(build_host(swin_host(OLD)).state_dict())
    with pytest.raises(RuntimeError, match='Unexpected key'):
        new_swapper().load_state_dict(build_host(vit_host(OLD, layers=3)).state_dict())


def test_its_own_checkpoint_loads(case):
    config, settings = case
    source = randomise_adapters(build_swapper(config(), **settings))
    target = new_swapper(config(), seed=9, **settings)
    assert any(map(is_adapter_key, changed(snapshot(source), snapshot(target))))
    result = target.load_state_dict(source.state_dict(), strict=True)
    assert not result.missing_keys and not result.unexpected_keys
    assert not changed(snapshot(source), snapshot(target))


@pytest.mark.parametrize('part', ['lora_A', 'lora_B'])
def test_its_own_checkpoint_with_a_missing_matrix_is_an_error(part):
    state = build_swapper().state_dict()
    del state[[key for key in state if part in key][0]]
    with pytest.raises(RuntimeError, match=f'Missing key.*{part}'):
        new_swapper().load_state_dict(state)


def test_another_rank_or_another_target_is_an_error():
    state = build_swapper().state_dict()
    with pytest.raises(RuntimeError, match='size mismatch'):
        new_swapper(lora=dict(rank=4)).load_state_dict(state)
    with pytest.raises(RuntimeError, match='Unexpected key'):
        new_swapper(lora=dict(targets=r'.*ffn\.layers\.1')).load_state_dict(state)


def test_loading_leaves_the_dictionary_alone():
    state = dict(build_host(vit_host(OLD)).state_dict())
    kept = dict(state)
    new_swapper().load_state_dict(state)
    assert list(state) == list(kept) and all(state[key] is kept[key] for key in kept)


@MODELS.register_module(force=True)
class LossWithState(SwappingLoss):
    """An objective with a tensor of its own, as an importance weight would be."""

    def __init__(self):
        super().__init__()
        self.register_buffer('importance', torch.ones(3))


def test_an_objective_may_have_state():
    loss = dict(type='knowswap_mm.LossWithState')
    source = build_swapper(loss=loss)  # from a plain checkpoint
    assert torch.equal(source.swapping_loss.importance, torch.ones(3))
    source.swapping_loss.importance.fill_(2)
    target = new_swapper(loss=loss)
    target.load_state_dict(source.state_dict(), strict=True)
    assert not changed(snapshot(source), snapshot(target))
    state = source.state_dict()
    del state['swapping_loss.importance']
    with pytest.raises(RuntimeError, match=r'Missing key.*swapping_loss\.importance'):
        target.load_state_dict(state)


SLOT_IN = dict(type='knowswap_mm.LoRABackbone', backbone=vit_backbone(), lora=dict(rank=2))


def test_a_swapper_around_a_backbone_with_adapters():
    host = vit_host(backbone=copy.deepcopy(SLOT_IN))
    swapper = new_swapper(host, lora=None)
    plain = build_host(vit_host(OLD), seed=4)
    swapper.load_state_dict(plain.state_dict(), strict=True)
    pictures = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(swapper.eval()(pictures)[:, :OLD], plain(pictures))
    assert len(swapper.adapters) == 8 and swapper(pictures).shape == (2, TOTAL)
    randomise_adapters(swapper)
    target = new_swapper(host, seed=8, lora=None)
    target.load_state_dict(swapper.state_dict(), strict=True)
    assert not changed(snapshot(swapper), snapshot(target))
