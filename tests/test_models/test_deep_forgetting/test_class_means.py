"""A sample votes for the class whose mean direction is nearest, among those that were seen."""

import torch

from knowswap_mm.models.deep_forgetting.class_means import ClassMeans

CPU, NONE = torch.device('cpu'), torch.zeros(0, dtype=torch.long)


def test_votes_by_hand():
    means = ClassMeans(4, 2, CPU)
    assert not means.nearest(torch.ones(1, 2), NONE).any()
    means.add(torch.tensor([[5.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 3]))
    means.add(torch.tensor([[0.0, 2.0], [1.0, 1.0]]), torch.tensor([3, 3]))
    found = means.nearest(torch.tensor([[9.0, 1.0], [1.0, 2.0], [-1.0, -9.0]]), NONE)
    assert found.argmax(1).tolist() == [0, 3, 0] and found.sum(1).tolist() == [1, 1, 1]
    without = means.nearest(torch.tensor([[9.0, 1.0]]), torch.tensor([0]))
    assert without.argmax(1).tolist() == [3]


def test_stored_means_say_the_same():
    torch.manual_seed(0)
    means = ClassMeans(3, 5, CPU)
    means.add(torch.randn(6, 5), torch.tensor([0, 1, 2, 0, 1, 2]))
    again = ClassMeans.from_dict(means.to_dict(), CPU)
    x = torch.randn(20, 5)
    assert torch.equal(means.nearest(x, NONE), again.nearest(x, NONE))
