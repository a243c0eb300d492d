"""Which queries lie on one thing."""

import torch

from knowswap_mm.models.samples.queries import dice, overlaps_among, queries_at


def test_queries_that_lie_on_a_thing():
    queries = torch.eye(4)
    overlaps = torch.tensor(
        [
            [0.9, 0.1, 0.0, 0.2],  # one lies on it
            [0.9, 0.8, 0.7, 0.0],  # two, by a hair
            [0.0, 0.01, 0.0, 0.0],  # the best is far off
            [0.0, 0.0, 0.0, 0.0],
        ]
    )
    expected = [[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 1, 0, 0], [0.25] * 4]
    assert queries_at(overlaps, queries).tolist() == expected
    assert queries_at(overlaps[:0], queries).shape == (0, 4)


def test_queries_that_lie_on_a_thing_image_by_image():
    overlaps = torch.tensor([[[1.0, 0.85]], [[0.3, 1.0]]])
    queries = torch.tensor([[[2.0], [4.0]], [[6.0], [8.0]]])
    assert queries_at(overlaps, queries).tolist() == [[[3.0]], [[8.0]]]


def test_dice_by_hand():
    masks = torch.tensor([[[1.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    others = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[0.5, 0.5], [0.0, 0.0]]])
    # Twice what both have, by what each has.
    wanted = torch.tensor([[2 * 1 / (2 + 2), 2 * 1 / (2 + 1)], [0.0, 0.0]])
    torch.testing.assert_close(dice(masks, others), wanted)


def test_boxes_of_queries_overlap():
    """The second box has the right half of the first; the third has no size."""
    boxes = torch.tensor([[[0.5, 0.5, 0.4, 0.4], [0.6, 0.5, 0.2, 0.4], [0.1, 0.1, 0.0, 0.0]]])
    wanted = torch.tensor([[[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    torch.testing.assert_close(overlaps_among(boxes), wanted)


def test_masks_of_queries_overlap():
    """Logits; the second is inside of half of the first, the third nowhere."""
    logits = torch.full((1, 3, 2, 2), -3.0)
    logits[0, 0] = 2.0
    logits[0, 1, 0] = 5.0
    wanted = torch.tensor([[[1.0, 2 / 3, 0.0], [2 / 3, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    torch.testing.assert_close(overlaps_among(logits), wanted)
