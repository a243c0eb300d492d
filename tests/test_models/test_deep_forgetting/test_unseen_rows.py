"""Rows of forgotten classes hold nothing about them afterwards, and no other row moves."""

import pytest
import torch

from knowswap_mm.lora.row_layout import RowLayout
from knowswap_mm.models.deep_forgetting.unseen_rows import reset_rows


def test_weights_and_biases_by_hand():
    weight, bias = torch.arange(8.0).view(4, 2), torch.arange(4.0)
    reset_rows(weight, RowLayout(), 4, [1], seed=0, noise=0.0)
    assert weight.tolist() == [
        [0, 1],
        [pytest.approx(10 / 3), pytest.approx(13 / 3)],
        [4, 5],
        [6, 7],
    ]
    reset_rows(bias, RowLayout(), 4, [1, 2], seed=0, margin=3.0)
    assert bias.tolist() == [0, -1.5, -1.5, 3]


def test_the_row_of_no_object_stays():
    weight = torch.randn(5, 3)
    before = weight.clone()
    reset_rows(weight, RowLayout(after=1), 4, [0], seed=0, noise=0.0)
    assert torch.equal(weight[1:], before[1:])
    torch.testing.assert_close(weight[0], before[1:4].mean(0))


def test_rows_of_anchors_are_not_mixed():
    weight = torch.randn(2 * 3, 4)  # two anchors with three classes each
    before = weight.clone()
    reset_rows(weight, RowLayout(outer=2), 3, [2], seed=0, noise=0.0)
    for first in (0, 3):
        torch.testing.assert_close(weight[first + 2], before[first : first + 2].mean(0))


def test_noise_follows_from_the_seed_and_what_was_there_is_gone():
    rows = [torch.randn(4, 50) for _ in range(2)]
    rows[1][[0, 1, 3]] = rows[0][[0, 1, 3]]  # the forgotten ones differ
    for weight in rows:
        reset_rows(weight, RowLayout(), 4, [2], seed=5)
    assert torch.equal(*rows)
    noise = rows[0][2] - rows[0][[0, 1, 3]].mean(0)
    assert 0.01 < float(noise.std()) < 0.03


def test_a_reset_class_is_never_the_best_answer():
    """What it says is the mean of what the others say."""
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(6, 9, generator=generator), torch.randn(6, generator=generator)
    for tensor in (weight, bias):
        reset_rows(tensor, RowLayout(), 6, [2, 5], seed=0, noise=0.0)
    logits = 10 * torch.randn(500, 9, generator=generator) @ weight.T + bias
    others = logits[:, [0, 1, 3, 4]]
    assert torch.allclose(logits[:, 2], others.mean(1), atol=1e-4)
    assert (logits[:, 5] < others.max(1).values).all()
