import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from knowswap_mm.acceleration import Fp8Products, accelerate, fp8_products
from knowswap_mm.acceleration.fp8_products import (
    Fp8Linear,
    Fp8LoRALinear,
    fp8_linear,
    missing_hardware,
    quantise_rows,
)
from knowswap_mm.models import merged_host
from tests.helpers.steps import JOINT, LEARN, ROLES, assert_same, step
from tests.helpers.tiny_hosts import (
    batch,
    build_swapper,
    changed,
    randomise_adapters,
    snapshot,
    swin_host,
    vit_host,
)

DATA = batch(ROLES[LEARN])
PICTURES = DATA[0]['learn']
EMULATED = dict(type='knowswap_mm.Fp8Products', emulate=True)
COMPILED = dict(type='knowswap_mm.CompiledBlocks', backend='aot_eager')


def swapper_of(*accelerations, host=None):
    return randomise_adapters(build_swapper(host or vit_host(), accelerations=list(accelerations)))


def bf16():
    return torch.autocast('cpu', torch.bfloat16)


def autocast_step(swapper):
    with bf16():
        return step(swapper.train(), *DATA)


def back(eight, scale):
    return eight.double() * scale.double()


def distance(found, wanted):
    """Of all gradients together, as a share of their norm."""
    pairs = [(found[key].double(), wanted[key].double()) for key in wanted]
    squares = [((a - b).square().sum(), b.square().sum()) for a, b in pairs]
    return (sum(a for a, _ in squares) / sum(b for _, b in squares)).sqrt().item()


@given(seed=st.integers(0, 2**31), size=st.floats(-20, 20), spread=st.floats(0, 3))
def test_rows_keep_four_bits_of_what_is_not_tiny(seed, size, spread):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(7, 33, generator=generator) * 2.0**size
    x *= torch.exp(spread * torch.randn(7, 33, generator=generator))
    x[3] = 0
    eight, scale = quantise_rows(x)
    assert eight.dtype == torch.float8_e4m3fn
    error, most = (back(eight, scale) - x.double()).abs(), x.abs().amax(1, keepdim=True).double()
    # Half of the last of four bits; below that, steps of 2^-9 of what 448 stands for.
    assert (error <= torch.maximum(x.abs().double() / 16, most / 448 / 1024) * 1.0001).all()
    assert (back(eight, scale)[3] == 0).all()


def operands(rows=24, inside=32, out=48, rank=3, dtype=torch.bfloat16):
    generator = torch.Generator().manual_seed(1)

    def random(*shape):
        return torch.randn(*shape, generator=generator).to(dtype)

    weight, bias = random(out, inside) * 0.2, random(out)
    a, b = random(rank, inside).requires_grad_(), random(out, rank).requires_grad_()
    x, probe = random(rows, inside).requires_grad_(), random(rows, out)
    return x, weight, bias, a, b, probe


def test_output_and_gradients_are_those_of_the_rounded_numbers():
    x, weight, bias, a, b, probe = operands()
    w8, back8 = quantise_rows(weight), quantise_rows(weight.t())
    x8, probe8 = quantise_rows(x.detach()), quantise_rows(probe)
    out, low = fp8_linear(x, *x8, *w8, *back8, bias, a, b)
    assert out.dtype == torch.bfloat16
    out.backward(probe)
    exact_low = (x.double() @ a.double().t()).detach()
    wanted = back(*x8) @ back(*w8).t() + bias.double() + exact_low @ b.double().t()
    of_x = back(*probe8) @ back(*back8).t() + probe.double() @ b.double() @ a.double()
    close = dict(rtol=0.02, atol=0.1)  # sums of 32 products in bf16
    torch.testing.assert_close(out.double(), wanted.detach(), **close)
    torch.testing.assert_close(x.grad.double(), of_x.detach(), **close)
    torch.testing.assert_close(low.double(), exact_low, **close)
    # Nothing of the gradients of A and B goes through eight bits.
    of_a = (probe.double() @ b.double()).t() @ x.double()
    of_b = probe.double().t() @ exact_low
    for found, exact in ((a.grad, of_a), (b.grad, of_b)):
        error = (found.double() - exact.detach()).norm() / exact.norm()
        assert error < 0.01
    x8_error = (back(*x8) - x.double()).norm() / x.double().norm()
    assert x8_error > 0.015, 'or the comparison above would be empty'


def test_without_an_adapter_nothing_of_the_activations_is_kept():
    x, weight, bias, _, _, probe = operands()
    w8, back8 = quantise_rows(weight), quantise_rows(weight.t())
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        out = fp8_linear(x, *quantise_rows(x.detach()), *w8, *back8, bias, None, None)[0]
    assert sorted({tuple(t.shape) for t in kept}) == [(32, 1), (32, 48), (48, 1), (48, 32)]
    out.backward(probe)
    wanted = back(*quantise_rows(probe)) @ back(*back8).t()
    torch.testing.assert_close(x.grad.double(), wanted, rtol=0.02, atol=0.05)


@pytest.mark.parametrize('lean', [True, False], ids=['beneath adapters', 'without LeanLoRA'])
def test_losses_and_gradients_are_near_and_differ(lean):
    names = ['LeanLoRA', 'PackedAttention'] if lean else ['PackedAttention']
    plain, eight = swapper_of(*names), swapper_of(*names, EMULATED)
    kinds = [type(module) for module in eight.modules()]
    assert eight.accelerated['Fp8Products'] == 2
    assert kinds.count(Fp8LoRALinear) == (4 if lean else 0)
    assert sum(issubclass(kind, Fp8Linear) for kind in kinds) == 4
    exact = step(plain.train(), *DATA)
    wanted, found = autocast_step(plain), autocast_step(eight)
    for key, value in found[0].items():
        torch.testing.assert_close(value, exact[0][key], rtol=0.1, atol=0.1)
    least = distance(wanted[1], exact[1])
    assert 2 * least < distance(found[1], exact[1]) < 0.15


def test_outside_of_autocast_and_training_nothing_changes():
    plain, eight = swapper_of('LeanLoRA'), swapper_of('LeanLoRA', EMULATED)
    assert_same(step(eight.train(), *DATA), step(plain.train(), *DATA), 0)
    with bf16(), torch.no_grad():
        assert torch.equal(eight.eval()(PICTURES), plain.eval()(PICTURES))
    layer = next(m for m in eight.modules() if isinstance(m, Fp8LoRALinear))
    eight.train()
    layer.base_layer.weight.requires_grad_(True)
    autocast_step(eight)
    assert layer._eight is None and layer.base_layer.weight.grad is not None


def test_names_and_weights_stay_and_copies_are_independent():
    plain, eight = swapper_of('LeanLoRA'), swapper_of('LeanLoRA', EMULATED)
    first = autocast_step(eight)
    assert not changed(snapshot(plain), snapshot(eight))
    assert list(plain.state_dict()) == list(eight.state_dict())
    assert [n for n, _ in plain.named_modules()] == [n for n, _ in eight.named_modules()]
    assert not any(b.dtype == torch.float8_e4m3fn for b in eight.buffers())
    twin = copy.deepcopy(eight)
    assert not any('_eight' in vars(module) for module in twin.modules())
    assert_same(autocast_step(twin), first, 0)
    other = {k: v * 1.5 if v.is_floating_point() else v for k, v in eight.state_dict().items()}
    twin.load_state_dict(other)
    fresh = swapper_of('LeanLoRA', EMULATED)
    fresh.load_state_dict(other)
    assert_same(autocast_step(twin), autocast_step(fresh), 0)
    assert_same(autocast_step(eight), first, 0)
    with torch.no_grad():
        assert torch.equal(merged_host(eight)(PICTURES), merged_host(plain)(PICTURES))


@pytest.fixture
def hardware(monkeypatch):
    """As if it were there: on a CPU the rounded numbers are multiplied by ordinary products."""
    torch._dynamo.reset()
    monkeypatch.setattr(fp8_products, 'missing_hardware', lambda: None)
    yield
    torch._dynamo.reset()


@pytest.mark.slow
def test_compiled_blocks_compute_the_same(hardware):
    names = ['LeanLoRA', 'PackedAttention', 'ClassTokenOnly']
    eight, compiled = swapper_of(*names, EMULATED), swapper_of(*names, COMPILED, 'Fp8Products')
    assert eight.accelerated['Fp8Products'] == compiled.accelerated['Fp8Products'] == 1
    found, wanted = autocast_step(compiled), autocast_step(eight)
    plain = autocast_step(swapper_of(*names, COMPILED))
    assert distance(found[1], wanted[1]) < 0.5 * distance(plain[1], wanted[1])
    layer = next(m for m in compiled.modules() if isinstance(m, Fp8Linear))
    before = layer._eight
    autocast_step(compiled)
    assert layer._eight is before, 'weights are rounded once'


def test_it_says_what_is_missing(monkeypatch, raises_config_error):
    host = swapper_of('LeanLoRA').host
    with raises_config_error('model.accelerations', 'Fp8Products'):
        accelerate(host, ['Fp8Products'])
    accelerate(host, [dict(COMPILED, backend='eager')])
    before = [type(module) for module in host.modules()]
    for capability, words in (((8, 0), 'capability 8.0.*takes 8.9'), (None, 'no GPU of NVIDIA')):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda here=capability: here is not None)
        monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda here=capability: here)
        monkeypatch.setattr(torch.cuda, 'get_device_name', lambda: 'A card')
        with pytest.warns(UserWarning, match=f'Fp8Products is left out.*{words}.*Fix: '):
            assert accelerate(host, ['Fp8Products']) == dict(Fp8Products=0)
    assert [type(module) for module in host.modules()] == before
    assert accelerate(swapper_of(host=swin_host()).host, ['Fp8Products']) == dict(Fp8Products=0)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda: (9, 0))
    assert missing_hardware() is None
    with raises_config_error('model.accelerations.Fp8Products.emulate', 1):
        Fp8Products(emulate=1)


def test_applying_twice_changes_nothing_more():
    swapper = swapper_of('LeanLoRA', EMULATED)
    assert accelerate(swapper.host, [EMULATED]) == dict(Fp8Products=0)
    data = batch(ROLES[JOINT], JOINT)
    with bf16():
        terms, _ = step(swapper.train(), *data)
    assert all(value.isfinite().all() for value in terms.values())


@pytest.mark.gpu
@pytest.mark.skipif(missing_hardware() is not None, reason='needs products in eight bits')
def test_the_device_multiplies_the_rounded_numbers():
    x, weight, bias, a, b, probe = operands(rows=160, inside=768, out=3072, rank=8)
    results = []
    for device in ('cpu', 'cuda'):
        moved = [t.detach().to(device).requires_grad_(t.requires_grad) for t in (x, a, b)]
        w8, back8 = quantise_rows(weight.to(device)), quantise_rows(weight.t().to(device))
        eight = quantise_rows(moved[0].detach())
        out, _ = fp8_linear(moved[0], *eight, *w8, *back8, bias.to(device), *moved[1:])
        out.backward(probe.to(device))
        results.append([out.detach(), *(t.grad for t in moved)])
    for wanted, found in zip(*results, strict=True):
        assert (found.cpu().double() - wanted.double()).norm() < 0.01 * wanted.double().norm()
