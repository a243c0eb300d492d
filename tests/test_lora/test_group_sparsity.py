import copy

import pytest
import torch

from knowswap_mm.lora import GroupSparsity, LoRAGroups, LoRAInjector
from knowswap_mm.lora.injector import adapter_parameters
from tests.helpers.tiny_hosts import build_host, randomise_adapters, vit_host


@pytest.fixture
def model():
    return randomise_adapters(LoRAInjector().inject(build_host(vit_host())))


def naive(groups):
    """The formula of method.md 1.6, one group after the other, in double precision."""
    squares = [0.0] * len(groups)
    for parameter, position in zip(groups.parameters, groups.membership, strict=True):
        squares[position] = squares[position] + parameter.double().square().sum()
    return sum(square.sqrt() for square in squares)


@pytest.mark.parametrize('by', ['block', 'lora', 'matrix'])
def test_value_and_gradient_equal_the_formula(model, by):
    groups = LoRAGroups(model, by)
    value = GroupSparsity(groups)()
    by_hand = naive(groups)
    if by == 'matrix':
        assert value.item() > GroupSparsity(LoRAGroups(model))().item()
    assert value.item() == pytest.approx(by_hand.item(), rel=1e-6)
    found = torch.autograd.grad(value, groups.parameters)
    wanted = torch.autograd.grad(by_hand, groups.parameters)
    for gradient, reference in zip(found, wanted, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-5, atol=1e-7)


def test_hand_computation():
    torch.manual_seed(0)
    model = LoRAInjector(rank=1).inject(build_host(vit_host(layers=1)))
    with torch.no_grad():
        for number, parameter in enumerate(adapter_parameters(model).values(), start=1):
            parameter.zero_()
            parameter.view(-1)[0] = number
    by_block = GroupSparsity(LoRAGroups(model, 'block'))()
    assert by_block.item() == pytest.approx((1 + 4 + 9 + 16) ** 0.5, abs=1e-6)
    by_lora = GroupSparsity(LoRAGroups(model, 'lora'))()
    assert by_lora.item() == pytest.approx(5**0.5 + 25**0.5, abs=1e-6)
    assert GroupSparsity(LoRAGroups(model, 'matrix'))().item() == pytest.approx(10, abs=1e-6)


def test_start_value_is_the_one_of_the_paper():
    # A of width d has 8 d entries of variance 2 / (51 d); two of them: sqrt(2 * 8 * 2 / 51).
    torch.manual_seed(0)
    model = LoRAInjector().inject(build_host(vit_host(layers=6)))
    norms = GroupSparsity(LoRAGroups(model)).group_norms()
    assert norms.shape == (6,)
    assert norms.mean().item() == pytest.approx(0.792, rel=0.03)


def test_gradient_is_zero_at_an_exactly_zero_group(model):
    groups = LoRAGroups(model)
    with torch.no_grad():
        for parameter, position in zip(groups.parameters, groups.membership, strict=True):
            if position == 0:
                parameter.zero_()
    value = GroupSparsity(groups)()
    gradients = torch.autograd.grad(value, groups.parameters)
    for gradient, position in zip(gradients, groups.membership, strict=True):
        assert torch.isfinite(gradient).all()
        assert (torch.count_nonzero(gradient) == 0) == (position == 0)


def test_gradient_of_b_is_zero_at_the_start():
    model = LoRAInjector().inject(build_host(vit_host()))
    GroupSparsity(LoRAGroups(model))().backward()
    for name, parameter in adapter_parameters(model).items():
        assert torch.isfinite(parameter.grad).all()
        assert (torch.count_nonzero(parameter.grad) == 0) == ('.lora_B.' in name)


def test_a_small_group_still_shrinks(model):
    groups = LoRAGroups(model)
    with torch.no_grad():
        for parameter in groups.parameters:
            parameter.mul_(1e-6)
    found = torch.autograd.grad(GroupSparsity(groups)(), groups.parameters)
    wanted = torch.autograd.grad(naive(groups), groups.parameters)
    for gradient, reference in zip(found, wanted, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-3, atol=1e-5)


def test_stays_exact_under_autocast(model):
    term = GroupSparsity(LoRAGroups(model))
    with torch.autocast('cpu', torch.bfloat16):
        value = term()
    assert value.dtype == torch.float32 and torch.equal(value, term())


def test_holds_no_state_and_follows_a_copy_of_the_model(model):
    model.term = GroupSparsity(LoRAGroups(model))
    assert not any(key.startswith('term') for key in model.state_dict())
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in adapter_parameters(twin).values():
            parameter.mul_(2)
    assert twin.term().item() == pytest.approx(2 * model.term().item(), rel=1e-6)
