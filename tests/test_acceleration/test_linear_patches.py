"""Patch embeddings as one product: the convolution's numbers, on every shape."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from knowswap_mm.acceleration import LinearPatches
from knowswap_mm.acceleration.linear_patches import PatchConvolution
from tests.helpers.tiny_hosts import build_host, resnet_host, swin_host, vit_host


@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(2, 4)),
    size=st.tuples(st.integers(4, 13), st.integers(4, 13)),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_outputs_and_gradients_are_those_of_the_convolution(kernel, size, bias, seed):
    torch.manual_seed(seed)
    plain = nn.Sequential(nn.Conv2d(3, 5, kernel, stride=kernel, bias=bias)).double()
    fast = copy.deepcopy(plain)
    assert LinearPatches().apply(fast) == 1
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    found, wanted = [], []
    for model, values in ((plain, wanted), (fast, found)):
        given_x = x.clone().requires_grad_()
        out = model(given_x)
        out.square().sum().backward()
        values += [out, given_x.grad, *(p.grad for p in model.parameters())]
    for value, wanted_value in zip(found, wanted, strict=True):
        torch.testing.assert_close(value, wanted_value)
    assert list(fast.state_dict()) == list(plain.state_dict())


def test_under_autocast_and_for_a_single_picture():
    plain = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4))
    fast = copy.deepcopy(plain)
    LinearPatches().apply(fast)
    x = torch.randn(2, 3, 16, 16)
    with torch.autocast('cpu', torch.bfloat16):
        found, wanted = fast(x), plain(x)
    assert found.dtype == wanted.dtype == torch.bfloat16
    torch.testing.assert_close(found, wanted, rtol=0.02, atol=0.02)
    assert fast(x).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(fast(x[0]), plain(x[0]))


@pytest.mark.parametrize('host, count', [(vit_host(), 1), (swin_host(), 1), (resnet_host(), 0)])
def test_the_patch_embeddings_of_hosts_are_found(host, count):
    model = build_host(host)
    assert LinearPatches().apply(model) == count
    assert sum(isinstance(module, PatchConvolution) for module in model.modules()) == count
    assert LinearPatches().apply(model) == 0


@pytest.mark.parametrize(
    'settings', [dict(padding=1), dict(stride=2), dict(dilation=2), dict(groups=3)]
)
def test_other_convolutions_stay_as_they_are(settings):
    model = nn.Sequential(nn.Conv2d(3, 6, 4, **(dict(stride=4) | settings)))
    assert LinearPatches().apply(model) == 0
