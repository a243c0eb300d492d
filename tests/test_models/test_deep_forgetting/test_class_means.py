"""A sample votes for the class whose mean direction is nearest, among those that were seen."""

import pytest
import torch

from knowswap_mm.models.deep_forgetting.class_means import ClassMeans

CPU, NONE = torch.device('cpu'), torch.zeros(0, dtype=torch.long)


def test_votes_by_hand():
    means = ClassMeans(4, 2, CPU)
    assert not means.nearest(torch.ones(1, 2), NONE)[0].any()
    means.add(torch.tensor([[5.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 3]))
    means.add(torch.tensor([[0.0, 2.0], [0.6, 0.8]]), torch.tensor([3, 3]))
    found, close = means.nearest(torch.tensor([[9.0, 0.0], [1.0, 2.0], [0.0, -9.0]]), NONE)
    assert found.argmax(1).tolist() == [0, 3, 0] and found.sum(1).tolist() == [1, 1, 1]
    assert close[[0, 2]].tolist() == [1.0, 0.0] and 0.9 < close[1] < 1
    without, farther = means.nearest(torch.tensor([[9.0, 0.0]]), torch.tensor([0]))
    # The mean of the directions (0, 1), (0, 1) and (0.6, 0.8).
    assert without.argmax(1).tolist() == [3]
    assert farther.tolist() == pytest.approx([0.6 / (0.6**2 + 2.8**2) ** 0.5])


def test_stored_means_say_the_same():
    torch.manual_seed(0)
    means = ClassMeans(3, 5, CPU)
    means.add(torch.randn(6, 5), torch.tensor([0, 1, 2, 0, 1, 2]))
    again = ClassMeans.from_dict(means.to_dict(), CPU)
    x = torch.randn(20, 5)
    assert all(map(torch.equal, means.nearest(x, NONE), again.nearest(x, NONE)))
