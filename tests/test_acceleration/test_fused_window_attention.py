import copy

import pytest
import torch
from mmdet.models.backbones.swin import ShiftWindowMSA as MMDetMSA
from mmengine.registry import MODELS, DefaultScope
from mmpretrain.models.utils import ShiftWindowMSA as MMPretrainMSA
from mmpretrain.models.utils import WindowMSAV2
from mmseg.models.backbones.swin import ShiftWindowMSA as MMSegMSA
from torch.nn import functional as F

from knowswap_mm.acceleration import FusedWindowAttention
from knowswap_mm.acceleration import fused_window_attention as part
from knowswap_mm.acceleration.fused_window_attention import FusedWindowMSA
from tests.helpers.tiny_hosts import build_host, dino_host, randomise, resnet_host

CHANNELS, HEADS = 24, 3
KINDS = dict(mmpretrain=MMPretrainMSA, mmdet=MMDetMSA, mmseg=MMSegMSA)
# Whole windows and padded ones; one image and several.
MAPS = [(3, 8, 12), (1, 8, 8), (2, 9, 6), (1, 5, 7)]


def attention(kind, window=4, shift=0, **settings):
    """A host's attention and ours, with the same frozen weights."""
    if kind == 'mmpretrain':
        settings = {k.removesuffix('_rate'): v for k, v in settings.items()} | {'pad_small_map': 1}
    host = KINDS[kind](
        embed_dims=CHANNELS, num_heads=HEADS, window_size=window, shift_size=shift, **settings
    )
    randomise(host.requires_grad_(False)).eval()
    fast = copy.deepcopy(host)
    assert FusedWindowAttention().apply(fast) == 1
    return host, fast


def run(module, x, size):
    """Output and gradient of the input."""
    x = x.clone().requires_grad_()
    out = module(x, size)
    probe = torch.linspace(-1, 1, out.numel()).view(out.shape)
    (out * probe).sum().backward()
    return out.detach(), x.grad


def tokens(pictures, height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(pictures, height * width, CHANNELS, generator=generator), (height, width)


@pytest.mark.parametrize('shape', MAPS)
@pytest.mark.parametrize('window, shift', [(4, 0), (4, 2), (3, 1)])
@pytest.mark.parametrize('kind', KINDS)
def test_equals_the_host(kind, window, shift, shape):
    pair = attention(kind, window, shift)
    data = tokens(*shape)
    wanted, found = (run(module, *data) for module in pair)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    results = []
    with torch.autocast('cpu', torch.bfloat16):
        for module in pair:
            results.append(run(module, *data))
    for exact, *rounded in zip(wanted, *results, strict=True):
        host, ours = (value.float() - exact for value in rounded)
        # Both round at several places; ours may not be further away from fp32, up to chance.
        assert ours.norm() < 1.3 * host.norm()
        assert ours.norm() < 0.02 * exact.norm()
        assert rounded[0].dtype == rounded[1].dtype


@pytest.mark.parametrize('kind', KINDS)
def test_tokens_that_a_shift_put_side_by_side_do_not_see_each_other(kind):
    host, fast = attention(kind, shift=2)
    x, size = tokens(2, 8, 8)
    changed = x.clone()
    changed.view(2, 8, 8, -1)[:, 0, 0] += 1
    moved = [
        (module(changed, size) - module(x, size)).abs().amax(-1).view(2, 8, 8) > 1e-6
        for module in (fast, host)
    ]
    assert torch.equal(*moved)
    assert moved[0].any(0).sum() == 4, 'the 2 x 2 tokens of that corner'


def test_the_bias_is_gathered_once_and_anew_when_it_changed():
    host, fast = attention('mmpretrain', shift=2)
    data = tokens(2, 8, 8)
    run(fast, *data)
    kept = fast.w_msa._bias(torch.float32)
    assert kept is fast.w_msa._bias(torch.float32)
    with torch.no_grad():
        for module in (host, fast):
            module.w_msa.relative_position_bias_table.mul_(2)
    assert fast.w_msa._bias(torch.float32) is not kept
    torch.testing.assert_close(run(fast, *data), run(host, *data), rtol=1e-5, atol=1e-5)
    state = {key: -v if v.is_floating_point() else v for key, v in host.state_dict().items()}
    for module in (host, fast):
        module.load_state_dict(state)
    torch.testing.assert_close(run(fast, *data), run(host, *data), rtol=1e-5, atol=1e-5)
    assert list(host.state_dict()) == list(fast.state_dict())
    twin = copy.deepcopy(fast)
    assert twin.w_msa._frozen_cache is not fast.w_msa._frozen_cache


def test_a_bias_that_trains_gets_the_gradient_of_the_host():
    pair = attention('mmdet', shift=2)
    data, gradients = tokens(2, 8, 8), []
    for module in pair:
        module.requires_grad_(True)
        run(module, *data)
        gradients.append(module.w_msa.relative_position_bias_table.grad)
    assert torch.equal(*gradients)
    with torch.no_grad():
        x, size = data
        torch.testing.assert_close(pair[1](x, size), pair[0](x, size), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('kind', KINDS)
def test_dropout_acts_in_training_only(kind, monkeypatch):
    settings = dict(attn_drop_rate=0.3, proj_drop_rate=0.0)
    host, fast = attention(kind, **settings)
    data = tokens(2, 8, 8)
    torch.testing.assert_close(run(fast, *data), run(host, *data), rtol=1e-5, atol=1e-5)
    asked = []
    real = F.scaled_dot_product_attention
    monkeypatch.setattr(
        F,
        'scaled_dot_product_attention',
        lambda *a, **k: asked.append(k['dropout_p']) or real(*a, **k),
    )
    run(fast, *data)
    run(fast.train(), *data)
    assert asked == [0.0, 0.3]


def test_more_windows_than_a_grid_takes_are_left_to_the_host(monkeypatch):
    host, fast = attention('mmseg', shift=2)
    data = tokens(2, 8, 8)
    monkeypatch.setattr(part, '_LIMIT', 7)
    assert all(torch.equal(a, b) for a, b in zip(run(fast, *data), run(host, *data), strict=True))


def test_rows_of_the_bias_are_aligned():
    for window in (3, 4, 7):
        _, fast = attention('mmpretrain', window)
        bias = fast.w_msa._bias(torch.bfloat16)
        assert bias.shape[2] == window**2 <= bias.shape[3]
        assert all(stride % 16 == 0 for stride in bias.stride()[:-1])


def test_other_attentions_stay_as_they_are():
    second = MMPretrainMSA(CHANNELS, HEADS, window_size=4, window_msa=WindowMSAV2)
    assert FusedWindowAttention().apply(second) == 0
    assert FusedWindowAttention().apply(build_host(resnet_host())) == 0


def test_all_blocks_of_a_detector():
    with DefaultScope.overwrite_default_scope('mmdet'):
        host = MODELS.build(dino_host())
    assert FusedWindowAttention().apply(host) == 5
    found = [module for module in host.modules() if isinstance(module, FusedWindowMSA)]
    assert len(found) == 5 and all(
        type(m).__module__ == 'mmdet.models.backbones.swin' for m in found
    )
    randomise(host.requires_grad_(False)).eval()
    plain = copy.deepcopy(host)
    for module in plain.modules():
        if isinstance(module, FusedWindowMSA):
            module.__class__ = type(module).__bases__[1]
    x = torch.randn(2, 3, 36, 28)
    for found, wanted in zip(host.extract_feat(x), plain.extract_feat(x), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_torch_compile_takes_it_whole():
    host, fast = attention('mmpretrain', shift=2)
    compiled = torch.compile(fast.w_msa, backend='aot_eager', fullgraph=True)
    x, mask = torch.randn(8, 16, CHANNELS), torch.randn(4, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x, mask), host.w_msa(x, mask), rtol=1e-5, atol=1e-5)
