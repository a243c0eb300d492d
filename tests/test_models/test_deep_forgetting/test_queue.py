"""The queue keeps the newest directions, and a graph may hang on what it held before."""

import torch

from knowswap_mm.models.deep_forgetting.queue import FeatureQueue

CPU = torch.device('cpu')


def pushed(*batches, size=4):
    queue = FeatureQueue(2, size, 2, CPU)
    for features, labels in batches:
        queue.push(torch.tensor([features] * 2), torch.tensor([labels] * 2))
    return queue


def test_the_oldest_go_first():
    queue = pushed(([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0]], [0, 1, 2]), ([[0.0, 1.0]] * 2, [3, 4]))
    assert queue.labels.tolist() == [[4, 1, 2, 3]] * 2 and queue.next == 1
    assert queue.features[1, 1:3].tolist() == [[0.0, 1.0], [1.0, 0.0]]  # directions


def test_of_more_than_it_holds_it_keeps_the_last():
    queue = pushed(([[1.0, 0.0]] * 6, [0, 1, 2, 3, 4, 5]))
    assert sorted(queue.labels[1].tolist()) == [2, 3, 4, 5]


def test_a_graph_may_hang_on_it():
    queue = pushed(([[1.0, 0.0]], [0]))
    x = torch.ones(2, requires_grad=True)
    value = queue.features[0] @ x
    queue.push(torch.ones(2, 2, 2), torch.tensor([[1, 2]] * 2))
    value.sum().backward()
    assert x.grad.tolist() == [1.0, 0.0]


def test_a_stored_queue_goes_on_alike():
    queue = pushed(([[1.0, 0.0]] * 3, [0, 1, 2]))
    again = FeatureQueue.from_list(queue.to_list(), CPU)
    for each in (queue, again):
        each.push(torch.ones(2, 2, 2), torch.tensor([[7, 8]] * 2))
    assert torch.equal(queue.features, again.features)
    assert torch.equal(queue.labels, again.labels) and queue.next == again.next
