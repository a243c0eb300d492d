"""A sample votes for the class whose mean direction is nearest, among those that were seen."""

import pytest
import torch

from knowswap_mm.models.deep_forgetting.class_means import ClassMeans

CPU, NONE = torch.device('cpu'), torch.zeros(0, dtype=torch.long)


def test_votes_by_hand():
    """The second place sees everything the other way round, and one sample less."""
    means = ClassMeans(2, 4, 2, CPU)

    def both(rows):
        one = torch.tensor(rows)
        return torch.stack([one, one.flip(1)])

    assert not means.nearest(both([[1.0, 1.0]]), NONE)[0].any()
    means.add(both([[5.0, 0.0], [0.0, 1.0]]), torch.tensor([[0, 3]] * 2))
    means.add(both([[0.0, 2.0], [0.6, 0.8], [7.0, 0.0]]), torch.tensor([[3, 3, -1], [3, 3, -1]]))
    assert means.counts.tolist() == [[1, 0, 0, 3]] * 2
    found, close = means.nearest(both([[9.0, 0.0], [1.0, 2.0], [0.0, -9.0]]), NONE)
    assert found.argmax(2).tolist() == [[0, 3, 0]] * 2 and found.sum(2).eq(1).all()
    assert close[:, [0, 2]].tolist() == [[1.0, 0.0]] * 2 and 0.9 < close[0, 1] < 1
    without, farther = means.nearest(both([[9.0, 0.0]]), torch.tensor([0]))
    # The mean of the directions (0, 1), (0, 1) and (0.6, 0.8).
    assert without.argmax(2).tolist() == [[3]] * 2
    assert farther.flatten().tolist() == pytest.approx([0.6 / (0.6**2 + 2.8**2) ** 0.5] * 2)


def test_stored_means_say_the_same():
    torch.manual_seed(0)
    means = ClassMeans(2, 3, 5, CPU)
    means.add(torch.randn(2, 6, 5), torch.tensor([[0, 1, 2, 0, 1, 2]] * 2))
    again = ClassMeans.from_list(means.to_list(), CPU)
    x = torch.randn(2, 20, 5)
    assert all(map(torch.equal, means.nearest(x, NONE), again.nearest(x, NONE)))
