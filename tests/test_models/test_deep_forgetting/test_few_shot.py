"""A few examples a class: perfect where classes lie apart, chance where they do not."""

import pytest
import torch

from knowswap_mm.models.deep_forgetting.few_shot import _ranks, few_shot_accuracy


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
    assert few_shot_accuracy(features, labels, [0, 1], [5]) == 1  # half of the samples is one
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


def test_the_share_is_the_mean_over_shots_and_more_examples_tell_more():
    data = clusters(0.4)
    single = [few_shot_accuracy(*data, [0, 2], [count]) for count in (1, 5, 20)]
    assert single[0] < single[1] < single[2]
    assert few_shot_accuracy(*data, [0, 2]) == pytest.approx(sum(single) / 3)


def test_a_draw_by_hand():
    """Two examples of four samples a class: what is nearest to their mean, and not one of them."""
    features, labels = clusters(0.6, count=4, classes=3)
    unit, shares = torch.nn.functional.normalize(features, dim=1), []
    ranks = _ranks(labels, torch.tensor([4, 4, 4]), 7, seed=5)
    for row in ranks:
        assert all(sorted(row[labels == c].tolist()) == [0, 1, 2, 3] for c in range(3))
        means = torch.stack([unit[(labels == c) & (row < 2)].mean(0) for c in range(3)])
        tried = unit[(labels == 1) & (row >= 2)]
        shares.append((torch.cdist(tried, means).argmin(1) == 1).float().mean())
    expected = float(torch.stack(shares).mean())
    assert few_shot_accuracy(features, labels, [1], [2], draws=7, seed=5) == pytest.approx(expected)
