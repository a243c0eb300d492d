import copy

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from knowswap_mm.models import KnowledgeSwapper, original_host
from tests.helpers.swap_configs import host_config


@pytest.fixture(params=['frozen', 'new_rows', 'all'])
def swapper_and_host(request):
    """A swapper with the weights of a plain host of five classes, and those weights."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        torch.manual_seed(1)
        host = MODELS.build(host_config(5))
        swapper = KnowledgeSwapper(
            host_config(7), lora=dict(rank=2), head=dict(policy=request.param, old_classes=5)
        )
    weights = {key: value + 0.01 for key, value in host.state_dict().items()}
    swapper.load_state_dict(dict(weights))
    return swapper, weights


def train_a_little(swapper):
    with torch.no_grad():
        for parameter in swapper.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter))


def test_the_start_comes_back_bit_by_bit(swapper_and_host):
    swapper, weights = swapper_and_host
    train_a_little(swapper)
    found = original_host(swapper).state_dict()
    assert set(found) == set(weights)
    for name, tensor in weights.items():
        rows = found[name][:5] if name.startswith('head') else found[name]
        assert torch.equal(rows, tensor), name


def test_also_from_a_checkpoint_in_the_middle_of_a_swap(swapper_and_host):
    swapper, _ = swapper_and_host
    wanted = original_host(swapper).state_dict()
    train_a_little(swapper)
    stored = copy.deepcopy(swapper.state_dict())
    train_a_little(swapper)
    swapper.load_state_dict(stored)
    found = original_host(swapper).state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_the_copy_is_apart_and_frozen(swapper_and_host):
    swapper, _ = swapper_and_host
    train_a_little(swapper)
    before = copy.deepcopy(swapper.state_dict())
    original = original_host(swapper)
    assert not original.training
    assert not any(parameter.requires_grad for parameter in original.parameters())
    with torch.no_grad():
        for parameter in original.parameters():
            parameter.zero_()
    assert all(torch.equal(before[name], value) for name, value in swapper.state_dict().items())
