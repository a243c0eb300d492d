import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig
from peft.functional import inject_adapter_in_model, set_adapter
from peft.tuners import lora
from torch import nn

from knowswap_mm.acceleration import LeanLoRA
from knowswap_mm.acceleration import lean_lora as lean_lora_linear
from knowswap_mm.acceleration.lean_lora import LeanLoRALinear, low_rank_linear
from knowswap_mm.lora import LoRAInjector, drop_adapter, merge_adapters
from tests.helpers.tiny_hosts import build_host, randomise, resnet_host, vit_host

IN, OUT = 12, 20


def linears(ranks=(3,), bias=True, **settings):
    """The same linear with adapters by peft and by ourselves; the newest adapter trains."""
    pair = []
    for _ in range(2):
        model = nn.Sequential(nn.Linear(IN, OUT, bias=bias))
        for number, rank in enumerate(ranks):
            config = LoraConfig(
                target_modules=['0'], r=rank, lora_alpha=1.7 * rank + number, **settings
            )
            inject_adapter_in_model(config, model, adapter_name=f'swap{number}')
        set_adapter(model, [f'swap{number}' for number in range(len(ranks))])
        randomise(model.requires_grad_(False))
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(f'.swap{len(ranks) - 1}.' in name)
        pair.append(model)
    assert LeanLoRA().apply(pair[1]) == 1 and type(pair[1][0]) is LeanLoRALinear
    return pair


def run(model, x, probe):
    """Output, gradient of the input and those of the parameters."""
    x = x.clone().requires_grad_()
    model.zero_grad()
    out = model(x)
    (out * probe).sum().backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return dict(gradients, out=out.detach(), x=x.grad)


def assert_equal_runs(pair, shape=(5, 7), **tolerance):
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(*shape, IN, generator=generator)
    probe = torch.randn(*shape, OUT, generator=generator)
    wanted, found = (run(model, x, probe) for model in pair)
    assert wanted.keys() == found.keys()
    for key in wanted:
        assert found[key].dtype == wanted[key].dtype
        torch.testing.assert_close(found[key], wanted[key], **tolerance)
    return found


@given(
    ranks=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    bias=st.booleans(),
    shape=st.sampled_from([(1,), (4,), (2, 3), (2, 1, 3), (0, 3)]),
)
def test_equals_peft(ranks, bias, shape):
    pair = linears(ranks, bias)
    found = assert_equal_runs(pair, shape)
    newest = f'.swap{len(ranks) - 1}.'
    assert {key for key in found if 'lora' in key} == {
        f'0.lora_{part}{newest}weight' for part in 'AB'
    }


def test_autocast_multiplies_in_its_type_and_rounds_less():
    torch.manual_seed(0)
    plain, lean = linears((8, 4))
    x, probe = torch.randn(50, IN), torch.randn(50, OUT)
    exact = run(plain, x, probe)
    with torch.autocast('cpu', torch.bfloat16):
        wanted, found = run(plain, x, probe), run(lean, x, probe)
    assert found['out'].dtype == torch.bfloat16
    for key in exact:
        assert found[key].dtype == wanted[key].dtype
        errors = [(values[key] - exact[key]).norm() for values in (found, wanted)]
        assert errors[0] < 1.1 * errors[1], key


def test_what_is_kept_from_autocast_is_not_rounded_in_the_backward_pass_either():
    pair = linears((8, 4))
    exact = run(pair[0], torch.ones(3, IN), torch.ones(3, OUT))
    for model in pair:
        x = torch.ones(3, IN, requires_grad=True)
        with torch.autocast('cpu', torch.bfloat16):
            with torch.autocast('cpu', enabled=False):
                out = model(x)
            model.zero_grad()
            out.sum().backward()
        assert out.dtype == x.grad.dtype == torch.float32
    torch.testing.assert_close(x.grad, exact['x'])
    for name, parameter in pair[1].named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, exact[name])


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float64])
def test_models_of_another_type(dtype):
    # The adapter's own rounding in peft's model: all is bfloat16, also the intermediate sums.
    tolerance = dict(rtol=0.05, atol=0.05) if dtype == torch.bfloat16 else {}
    pair = [model.to(dtype) for model in linears((3, 2))]
    x, probe = torch.randn(6, IN, dtype=dtype), torch.randn(6, OUT, dtype=dtype)
    wanted, found = (run(model, x, probe) for model in pair)
    for key in wanted:
        assert found[key].dtype == dtype
        torch.testing.assert_close(found[key], wanted[key], **tolerance)


@pytest.mark.parametrize('rows, out', [(5, OUT), (48, 24), (50, 6)], ids=['few', 'wide', 'narrow'])
@pytest.mark.parametrize('frozen', ['none', 'matrices', 'input'])
def test_derivatives(frozen, rows, out):
    def random(*shape, grad=True):
        return torch.randn(*shape, dtype=torch.float64).requires_grad_(grad)

    x, matrices = frozen != 'input', frozen != 'matrices'
    tensors = [random(rows, IN, grad=x), random(out, IN, grad=False), random(out, grad=False)]
    tensors += [random(3, IN, grad=matrices), random(out, 3, grad=matrices)]
    first, weight, bias, a, b = (tensor.detach() for tensor in tensors)
    wanted = first @ (weight + b @ a).t() + bias
    torch.testing.assert_close(low_rank_linear(*tensors)[0], wanted)
    assert torch.autograd.gradcheck(low_rank_linear, tensors)
    assert torch.autograd.gradgradcheck(low_rank_linear, tensors)


def saved(model, x):
    """Bytes that autograd keeps for the backward pass, but for parameters and the input itself."""
    own = {p.data_ptr() for p in model.parameters()}
    kept = {}

    def pack(tensor):
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes(), tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(x)
    return sum(size for size, _ in kept.values())


def test_keeps_the_input_once_and_nothing_of_the_size_of_the_output():
    _, lean = linears((3,))
    rows, two = 1000, 2
    x = torch.randn(rows, IN, requires_grad=True)
    weights = two * (IN * OUT + 3 * IN + 3 * OUT) + 4 * 3 * OUT
    with torch.autocast('cpu', torch.bfloat16):
        assert saved(lean, x) <= two * rows * (IN + 3) + weights
        lean.requires_grad_(False)
        assert saved(lean, x) <= weights


@pytest.mark.parametrize('dropout', [0.0, 0.5])
def test_an_activation_in_place_makes_no_copies_of_the_gradient(dropout):
    """In place on a view, autograd would copy the gradient of the whole tensor thrice."""
    _, lean = linears((3,), lora_dropout=dropout)
    x = torch.randn(2, 5, IN, requires_grad=True)
    out = lean(x)
    assert not out._is_view() and out.shape == (2, 5, OUT)
    before = out.grad_fn
    nn.ReLU(inplace=True)(out)
    assert out.grad_fn.name() == 'ReluBackward0'
    assert [node for node, _ in out.grad_fn.next_functions] == [before]
    # UnsafeViewBackward stands for a reshape, which copies nothing.
    assert before.name() == 'UnsafeViewBackward0'


def test_an_activation_in_place_has_the_derivatives_of_any_other():
    pair = linears((3,))
    for model in pair:
        model.append(nn.ReLU(inplace=model is pair[1]))
    assert_equal_runs(pair)


def test_a_frozen_adapter_still_passes_gradients_on():
    pair = linears((3, 2))
    for model in pair:
        model.requires_grad_(False)
    found = assert_equal_runs(pair)
    assert set(found) == {'out', 'x'} and found['x'].abs().max() > 0.1


@pytest.mark.parametrize('active', [['swap0'], ['swap2', 'swap0'], []])
def test_some_adapters_are_active(active):
    pair = linears((3, 2, 4))
    for model in pair:
        model[0].set_adapter(active)
    assert_equal_runs(pair)


def test_dropout_acts_on_the_input_of_its_adapter_in_training_only():
    pair = linears((3, 2), lora_dropout=0.5)
    x, probe = torch.randn(40, IN), torch.randn(40, OUT)
    for model in pair:
        model[0].lora_dropout['swap0'] = nn.Identity()
    for training in (True, False):
        results = []
        for model in pair:
            torch.manual_seed(3)
            results.append(run(model.train(training), x, probe))
        for key in results[0]:
            torch.testing.assert_close(results[1][key], results[0][key])
    assert_equal_runs([model.eval() for model in pair])


def test_merging_and_unmerging():
    pair = linears((3, 2))
    for act in ('merge', 'unmerge'):
        for model in pair:
            getattr(model[0], act)()
        assert_equal_runs(pair)
        assert torch.equal(pair[0][0].base_layer.weight, pair[1][0].base_layer.weight)
    for model in pair:
        merge_adapters(model)
    assert_equal_runs(pair)
    assert type(pair[1][0]) is nn.Linear


def test_disabled_and_dropped_adapters():
    pair = linears((3, 2))
    for enabled in (False, True):
        for model in pair:
            model[0].enable_adapters(enabled)
        assert_equal_runs(pair)
    for model in pair:
        drop_adapter(model, 'swap1')
    assert_equal_runs(pair)


def test_unusual_layers_are_left_to_peft():
    pair = linears()
    for model in pair:
        model[0].base_layer.weight.requires_grad_(True)
    assert '0.base_layer.weight' in assert_equal_runs(pair)
    pair = linears()
    for model in pair:
        model[0].base_layer.register_forward_hook(lambda *args: args[-1] + 1)
    assert_equal_runs(pair)
    for settings in (dict(use_dora=True), dict(lora_bias=True)):
        assert_equal_runs(linears(**settings))


def test_the_lean_way_is_taken_and_left_where_it_should_be(monkeypatch):
    """Without this, all comparisons would pass if peft did everything."""
    calls = []

    def spy(*tensors):
        calls.append([(tensor.dtype, tuple(tensor.shape)) for tensor in tensors])
        return low_rank_linear(*tensors)

    monkeypatch.setattr(lean_lora_linear, 'low_rank_linear', spy)
    _, lean = linears((3, 2))
    x = torch.randn(4, IN)
    lean(x)
    with torch.autocast('cpu', torch.bfloat16), torch.no_grad():
        lean(x)
    lean.double()(x.double())
    shapes = [(4, IN), (OUT, IN), (OUT,), (5, IN), (OUT, 5)]
    types = [torch.float32, torch.bfloat16, torch.float64]
    assert calls == [[(dtype, shape) for shape in shapes] for dtype in types]
    calls.clear()
    lean.float()[0].merge()
    lean(x)
    lean[0].unmerge()
    lean[0].enable_adapters(False)
    lean(x)
    assert not calls


def test_other_layers_stay_as_they_are():
    host = LoRAInjector(targets=r'.*layer4\.0\.conv\d').inject(build_host(resnet_host()))
    assert LeanLoRA().apply(host) == 0
    host = LoRAInjector().inject(build_host(vit_host()))
    assert LeanLoRA().apply(host) == 4
    assert not any(type(module) is lora.Linear for module in host.modules())


def test_torch_compile_takes_it_whole():
    plain, lean = linears((3, 2))
    compiled = torch.compile(lean, backend='aot_eager', fullgraph=True)
    x, probe = torch.randn(4, IN), torch.randn(4, OUT)
    wanted, found = run(plain, x, probe), run(compiled, x, probe)
    for key, value in wanted.items():
        name = key if key in ('out', 'x') else f'_orig_mod.{key}'
        torch.testing.assert_close(found[name], value)
    with torch.autocast('cpu', torch.bfloat16):
        wanted, found = run(lean, x, probe), run(compiled, x, probe)
    for key in ('out', 'x'):  # the low-rank part is rounded once more
        torch.testing.assert_close(found[key], wanted[key], rtol=0.02, atol=0.01)
