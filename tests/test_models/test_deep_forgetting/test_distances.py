"""Distances equal what a hand computes, and have the properties that the objective leans on."""

import itertools
import math

import pytest
import torch

from knowswap_mm.models.deep_forgetting.distances import (
    QUIET,
    discrepancy,
    divergence,
    kernel,
    masked,
    mixture,
    surest,
    taken_for,
)

INF = float('inf')


def test_masked_columns_have_no_share():
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    found = masked(logits, torch.tensor([2]))
    assert found.tolist() == [[1.0, 2.0, -INF]]


def test_divergence_of_a_softmax_by_hand():
    teacher, student = torch.tensor([[0.0, math.log(3)]]), torch.tensor([[0.0, 0.0]])
    expected = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert float(divergence(teacher, student, False)) == pytest.approx(expected)
    halved = divergence(2 * teacher, 2 * student, False, temperature=2.0)
    assert float(halved) == pytest.approx(4 * expected)
    alone = divergence(torch.tensor([[0.0, -INF]]), student, False)
    assert float(alone) == pytest.approx(math.log(2))


def test_divergence_of_sigmoids_by_hand():
    teacher, student = torch.tensor([[math.log(3), -INF]]), torch.tensor([[0.0, 0.0]])
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5) + math.log(2)
    assert float(divergence(teacher, student, True)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize('sigmoid', [False, True])
def test_a_divergence_is_zero_from_itself_and_else_positive(sigmoid):
    torch.manual_seed(0)
    left, right = torch.randn(2, 50, 7) * 3
    assert divergence(left, left, sigmoid).abs().max() < 1e-5
    assert (divergence(left, right, sigmoid) > 0).all()
    right.requires_grad_()
    divergence(masked(left, torch.tensor([1])), right, sigmoid).sum().backward()
    assert right.grad.isfinite().all()


def test_answers_that_name_something_else_by_hand():
    shares = torch.tensor([[0.75, 0.25, 0.0]])
    forgotten, half = torch.tensor([2]), torch.tensor([0.5])
    plain = taken_for(shares, torch.zeros(1, 3), forgotten, False, None).softmax(1)
    assert plain.tolist() == [pytest.approx([0.75, 0.25, 0.0], abs=1e-5)]
    # Two columns stand for no object, of which the second is three times as likely.
    said = torch.tensor([[1.0, 2.0, 3.0, 0.0, math.log(3)]])
    blank = taken_for(shares, said, forgotten, False, half).softmax(1)
    assert blank.tolist() == [pytest.approx([0.375, 0.125, 0.0, 0.125, 0.375], abs=1e-5)]
    # A class that it is not taken for is left as unlikely as it was, or made so.
    said, shares = torch.tensor([[4.0, 4.0, -6.0, 4.0]]), torch.tensor([[0.75, 0.25, 0.0, 0.0]])
    alone = taken_for(shares, said, torch.tensor([3]), True, half).sigmoid()
    low = 1 / (1 + math.exp(6))
    assert alone.tolist() == [pytest.approx([0.375, 0.125, low, 0.0], abs=1e-5)]
    named = taken_for(shares, said, torch.tensor([3]), True, torch.zeros(1)).sigmoid()
    assert named.tolist() == [pytest.approx([QUIET, QUIET, low, 0.0], abs=1e-5)]


def test_the_surest_answer_by_hand():
    said = torch.tensor([[0.0, math.log(3), 9.0], [math.log(4), 0.0, -9.0]])
    assert surest(said, 2, True).tolist() == pytest.approx([0.75, 0.8])
    said = torch.tensor([[0.0, math.log(3), math.log(4)]])
    assert surest(said, 2, False).tolist() == pytest.approx([3 / 8])


def test_the_kernel_by_hand():
    unit = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    far = sum(math.exp(-g) for g in (2.0, 8.0, 32.0))  # |u - v|^2 is 2
    torch.testing.assert_close(kernel(unit, unit), torch.tensor([[3.0, far], [far, 3.0]]))


def test_the_discrepancy_by_hand():
    features = torch.tensor([[2.0, 0.0], [0.0, 5.0], [7.0, 0.0]])
    members = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    others = torch.tensor([[1.0, 0.0]])
    far = sum(math.exp(-g) for g in (2.0, 8.0, 32.0))
    found = discrepancy(features, members, others, torch.ones(1, 2))
    between = 0.5 * 3 + 0.5 * far
    torch.testing.assert_close(found, torch.tensor([far - 2 * between, 0 - 2 * 3.0]))


def test_small_batches_push_a_class_apart_as_large_ones_do():
    """Over all batches of three of five samples, value and gradient are those of all five."""
    torch.manual_seed(0)
    whole = torch.randn(5, 4, requires_grad=True)
    others = torch.nn.functional.normalize(torch.randn(6, 4), dim=1)
    weights = torch.full((6, 1), 1 / 6)
    value = discrepancy(whole, torch.ones(5, 1), others, weights).sum()
    (wanted,) = torch.autograd.grad(value, whole)
    batches = list(itertools.combinations(range(5), 3))
    values = [
        discrepancy(whole[list(each)], torch.ones(3, 1), others, weights).sum() for each in batches
    ]
    mean = sum(values) / len(batches)
    torch.testing.assert_close(mean, value)
    torch.testing.assert_close(torch.autograd.grad(mean, whole)[0], wanted)


def test_the_discrepancy_is_least_for_the_mixture_itself():
    torch.manual_seed(0)
    others = torch.nn.functional.normalize(torch.randn(40, 8), dim=1)
    weights, members = torch.full((40, 1), 1 / 40), torch.ones(40, 1)
    same = discrepancy(others, members, others, weights)
    for change in (torch.roll(others, 1, 1), others.mean(0).expand(40, 8), others * 0 + others[0]):
        assert discrepancy(change, members, others, weights) > same


def test_a_mixture_by_hand():
    labels = torch.tensor([0, 0, 2, -1])
    wanted = torch.tensor([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]])  # nobody has class 1
    found = mixture(labels, wanted)
    torch.testing.assert_close(
        found[:, 0], torch.tensor([1 / 3, 1 / 3, 1 / 3, 0]), atol=1e-5, rtol=0
    )
    assert found[:, 1].sum() == pytest.approx(1) and found[3].tolist() == [0, 0]
    assert not mixture(torch.full((3,), -1), wanted).any()
