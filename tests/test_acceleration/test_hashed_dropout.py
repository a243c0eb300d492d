import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from knowswap_mm.acceleration import HashedDropout
from knowswap_mm.acceleration.dropouts import HashedDropoutModule, drop_by_hash, kept
from tests.helpers.steps import LEARN, ROLES, assert_same, step
from tests.helpers.tiny_hosts import (
    batch,
    build_swapper,
    randomise_adapters,
    vit_backbone,
    vit_host,
)

SHAPE = torch.Size((500, 400))


def seed_of(number):
    generator = torch.Generator().manual_seed(number)
    return torch.randint(-(2**31), 2**31, (2,), dtype=torch.int32, generator=generator)


def share(mask):
    return mask.double().mean().item()


@given(seed=st.integers(0, 2**31), p=st.floats(0.01, 0.99))
def test_as_many_stay_as_should(seed, p):
    mask = kept(seed_of(seed), SHAPE, p)
    deviation = (p * (1 - p) / SHAPE.numel()) ** 0.5
    assert abs(share(mask) - (1 - p)) < 6 * deviation
    for row in (mask.float().mean(0), mask.float().mean(1)):  # no rows, no columns
        spread = (p * (1 - p) / (SHAPE.numel() / len(row))) ** 0.5
        assert row.std().item() < 1.3 * spread


@given(
    seeds=st.lists(st.integers(0, 2**31), min_size=2, max_size=2, unique=True),
    shift=st.integers(1, 5000),
)
def test_masks_do_not_resemble_each_other(seeds, shift):
    one, other = (kept(seed_of(seed), SHAPE, 0.5).flatten() for seed in seeds)
    for first, second in ((one, other), (one[shift:], other[:-shift]), (one[shift:], one[:-shift])):
        assert abs(share(first == second) - 0.5) < 6 * 0.5 / len(first) ** 0.5


@pytest.mark.parametrize('p', [0.1, 0.5])
def test_gradients_have_the_mask_of_the_output(p):
    x = torch.rand(SHAPE) + 1
    x.requires_grad_()
    out = drop_by_hash(x, p)
    gone = out == 0
    torch.testing.assert_close(out[~gone], x[~gone] / (1 - p))
    out.sum().backward()
    torch.testing.assert_close(x.grad, (~gone) / (1 - p))


def test_the_seed_of_torch_decides():
    x = torch.ones(SHAPE)
    torch.manual_seed(3)
    one, next_one = drop_by_hash(x, 0.5), drop_by_hash(x, 0.5)
    torch.manual_seed(3)
    assert torch.equal(drop_by_hash(x, 0.5), one)
    assert not torch.equal(next_one, one)


def test_only_compiled_training_differs():
    torch._dynamo.reset()
    model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.3), nn.Dropout(0.3, inplace=True))
    twin = copy.deepcopy(model)
    assert HashedDropout().apply(model) == 1
    assert isinstance(model[1], HashedDropoutModule) and isinstance(model[1], nn.Dropout)
    x = torch.rand(64, 8)
    torch.manual_seed(0)
    wanted = twin(x)
    torch.manual_seed(0)
    torch.testing.assert_close(model(x), wanted)
    compiled = torch.compile(model[:2], backend='aot_eager', fullgraph=True)
    out = compiled(x)
    dropped = out == 0
    assert 0.2 < share(dropped) < 0.4
    torch.testing.assert_close(out[~dropped], model[0](x)[~dropped] / 0.7)
    torch.testing.assert_close(compiled.eval()(x), model[0](x))
    torch._dynamo.reset()


def test_a_classifier_trains_with_it_and_predicts_as_without():
    torch._dynamo.reset()
    host = vit_host(backbone=vit_backbone(2) | dict(drop_rate=0.1))
    blocks = dict(type='knowswap_mm.CompiledBlocks', backend='aot_eager', fullgraph=True)
    swappers = [
        randomise_adapters(build_swapper(host, accelerations=accelerations)).train()
        for accelerations in ([], ['HashedDropout', blocks])
    ]
    data = batch(ROLES[LEARN])
    assert [type(m).__name__ for m in swappers[1].modules()].count('HashedDropoutModuleDropout') > 4
    for swapper in swappers:
        found = step(swapper, *data)
        assert all(value.isfinite().all() for value in found[1].values())
    for module in (m for swapper in swappers for m in swapper.modules()):
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    assert_same(step(swappers[1], *data), step(swappers[0], *data), 1e-5)
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.parametrize(
    'device',
    [
        'cpu',
        pytest.param(
            'cuda',
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device'),
            ],
        ),
    ],
)
def test_a_compiler_makes_the_same_mask(device):
    """Products of integers overflow alike in compiled code."""
    torch._dynamo.reset()
    for number in range(5):
        seed = seed_of(number).to(device)
        found = torch.compile(kept)(seed, torch.Size((64, 33)), 0.1)
        assert torch.equal(found.cpu(), kept(seed.cpu(), torch.Size((64, 33)), 0.1))
    torch._dynamo.reset()
