import copy

import pytest
import torch
from mmpretrain.models.utils import MultiheadAttention, WindowMSA
from torch.utils._python_dispatch import TorchDispatchMode

from knowswap_mm.acceleration import PackedAttention
from tests.helpers.tiny_hosts import build_swapper, randomise, vit_host


def pair(**settings):
    """The host's attention and ours, with the same frozen weights."""
    settings = dict(embed_dims=24, num_heads=3) | settings
    host = randomise(MultiheadAttention(**settings).requires_grad_(False)).train()
    fast = copy.deepcopy(host)
    assert PackedAttention().apply(fast) == 1
    return host, fast


def run(module, tokens):
    tokens = tokens.clone().requires_grad_()
    torch.manual_seed(0)
    out = module(tokens)
    (out * torch.linspace(-1, 1, out.numel()).view(out.shape)).sum().backward()
    return out.detach(), tokens.grad


@pytest.mark.parametrize(
    'settings',
    [
        {},
        dict(qkv_bias=False),
        dict(qk_scale=0.5),
        dict(proj_drop=0.5, attn_drop=0.5),
        dict(layer_scale_init_value=0.1),
        dict(input_dims=16),
        dict(input_dims=16, v_shortcut=True, num_heads=1),
    ],
    ids=str,
)
def test_equals_the_host(settings):
    host, fast = pair(**settings)
    tokens = torch.randn(2, 5, settings.get('input_dims', 24))
    for found, wanted in zip(run(fast, tokens), run(host, tokens), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
    with torch.autocast('cpu', torch.bfloat16):
        for found, wanted in zip(run(fast, tokens), run(host, tokens), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-2)


class Zeros(TorchDispatchMode):
    """Counts the tensors that are filled with zeros."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.__name__.startswith(('select_backward', 'new_zeros', 'zeros'))
        return func(*args, **(kwargs or {}))


def test_no_gradient_is_padded_with_zeros():
    counts = []
    for module in pair():
        with Zeros() as mode:
            run(module, torch.randn(2, 5, 24))
        counts.append(mode.count)
    assert counts[0] >= 3 and counts[1] == 0


def test_what_it_changes():
    assert build_swapper(vit_host(), accelerations=['PackedAttention']).accelerated == {
        'PackedAttention': 2
    }
    windows = WindowMSA(embed_dims=24, window_size=(2, 2), num_heads=3)
    assert PackedAttention().apply(windows) == 0
    _, fast = pair()
    assert isinstance(copy.deepcopy(fast), MultiheadAttention)
    assert type(copy.deepcopy(fast)) is type(fast)
    assert PackedAttention().apply(fast) == 0
