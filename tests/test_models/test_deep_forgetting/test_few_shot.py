"""A few examples a class: perfect where classes lie apart, chance where they do not."""

import pytest
import torch

from knowswap_mm.models.deep_forgetting.few_shot import few_shot_accuracy


def clusters(spread, count=30, classes=4):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(classes).repeat_interleave(count)
    centres = torch.eye(classes, 16)
    return centres[labels] + spread * torch.randn(len(labels), 16, generator=generator), labels


def test_classes_apart_and_classes_that_are_noise():
    assert few_shot_accuracy(*clusters(1e-3), [0, 3]) == 1
    noise = few_shot_accuracy(*clusters(1e3), [0, 1, 2, 3], draws=50)
    assert noise == pytest.approx(0.25, abs=0.08)


def test_one_example_by_hand():
    features = torch.tensor([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0], [0.1, 3.0]])
    labels = torch.tensor([0, 0, 1, 1])
    assert few_shot_accuracy(features, labels, [0, 1], shots=5) == 1  # half of the samples is one
    swapped = torch.tensor([0, 1, 0, 1])
    # Whichever examples are drawn: both others are nearer to the wrong one, or lie as near.
    assert few_shot_accuracy(features, swapped, [0, 1], draws=40) < 0.6


def test_the_same_seed_gives_the_same_share():
    data = clusters(0.5)
    shares = {few_shot_accuracy(*data, [1], seed=3) for _ in range(3)}
    assert len(shares) == 1


def test_too_little_gives_nothing():
    features, labels = clusters(0.1)
    assert few_shot_accuracy(features, labels, [9]) is None
    assert few_shot_accuracy(features, labels, []) is None
    assert few_shot_accuracy(features[:5], labels[:5], [0]) is None  # of one class
