import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from knowswap_mm.acceleration import PackedDropout
from knowswap_mm.acceleration.dropouts import PackedDropoutModule, drop_by_packed_draws
from tests.helpers.steps import LEARN, ROLES, assert_same, step
from tests.helpers.tiny_hosts import (
    batch,
    build_swapper,
    randomise_adapters,
    vit_backbone,
    vit_host,
)

SHAPE = (500, 399)  # no multiple of four
COUNT = 500 * 399


def stays(seed, p):
    torch.manual_seed(seed)
    return drop_by_packed_draws(torch.ones(SHAPE), p) != 0


@given(seed=st.integers(0, 2**31), p=st.floats(0.01, 0.99))
def test_as_many_stay_as_should(seed, p):
    mask = stays(seed, p)
    assert abs(mask.double().mean().item() - (1 - p)) < 6 * (p * (1 - p) / COUNT) ** 0.5
    for row in (mask.float().mean(0), mask.float().mean(1)):  # no rows, no columns
        assert row.std().item() < 1.3 * (p * (1 - p) / (COUNT / len(row))) ** 0.5


@given(seed=st.integers(0, 2**31), shift=st.integers(1, 9))
def test_neighbours_know_nothing_of_each_other(seed, shift):
    """Those of one draw neither."""
    mask = stays(seed, 0.5).flatten()
    same = (mask[shift:] == mask[:-shift]).double().mean().item()
    assert abs(same - 0.5) < 6 * 0.5 / COUNT**0.5


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize('shape', [(), (3,), (0, 4), (7, 5, 3)])
def test_gradients_have_the_mask_of_the_output(shape, dtype):
    x = (torch.rand(shape) + 1).to(dtype).requires_grad_()
    out = drop_by_packed_draws(x, 0.5)
    assert out.shape == x.shape and out.dtype == dtype
    torch.testing.assert_close(out, torch.where(out == 0, 0, 2 * x))
    out.sum().backward()
    torch.testing.assert_close(x.grad, torch.where(out == 0, 0, torch.full_like(x, 2)))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float64])
def test_a_type_drops_what_others_drop(dtype):
    torch.manual_seed(3)
    mask = drop_by_packed_draws(torch.ones(SHAPE, dtype=dtype), 0.1) != 0
    assert torch.equal(mask, stays(3, 0.1))


def test_the_seed_of_torch_decides():
    assert torch.equal(stays(3, 0.5), stays(3, 0.5))
    assert not torch.equal(stays(3, 0.5), stays(4, 0.5))


def test_only_training_without_a_compiler_differs():
    torch._dynamo.reset()
    model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.3), nn.Dropout(0.3, inplace=True))
    twin = copy.deepcopy(model)
    assert PackedDropout().apply(model) == 1
    assert isinstance(model[1], PackedDropoutModule) and isinstance(model[1], nn.Dropout)
    x = torch.rand(640, 8)
    out = model[:2](x)
    gone = out == 0
    assert 0.25 < gone.double().mean().item() < 0.35
    torch.testing.assert_close(out[~gone], model[0](x)[~gone] / 0.7)
    compiled = torch.compile(model[:2], backend='aot_eager', fullgraph=True)
    found = []
    for one in (compiled, twin[:2]):
        torch.manual_seed(0)
        found.append(one(x))
    torch.testing.assert_close(*found)
    torch.testing.assert_close(model.eval()(x), twin.eval()(x))
    assert model[1].train()(torch.empty(3, device='meta')).device.type == 'meta'
    for p in (0.0, 1.0):
        model[1].p = p
        torch.testing.assert_close(model[1].train()(x), (1 - p) * x)
    torch._dynamo.reset()


def test_a_classifier_trains_with_it():
    host = vit_host(backbone=vit_backbone(2) | dict(drop_rate=0.1))
    swappers = [
        randomise_adapters(build_swapper(host, accelerations=accelerations)).train()
        for accelerations in ([], ['PackedDropout'])
    ]
    data = batch(ROLES[LEARN])
    assert [type(m).__name__ for m in swappers[1].modules()].count('PackedDropoutModuleDropout') > 4
    first, second = (step(swapper, *data) for swapper in swappers)
    assert all(value.isfinite().all() for value in second[1].values())
    assert not torch.equal(first[0]['learn/raw'], second[0]['learn/raw'])
    for module in (m for swapper in swappers for m in swapper.modules()):
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    assert_same(step(swappers[1], *data), step(swappers[0], *data), 1e-5)
