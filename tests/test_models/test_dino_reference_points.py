"""Published DINO weights fit the host's wider encoding of boxes, exactly."""

import math

import pytest
import torch
from torch import nn

from knowswap_mm.models.host_fixes import KEY, widen_reference_points

DIMS = 16


class Host(nn.Module):
    """As much of a DINO as the fix looks at."""

    def __init__(self, inputs):
        super().__init__()
        self.decoder = nn.Module()
        self.decoder.ref_point_head = nn.Module()
        self.decoder.ref_point_head.layers = nn.ModuleList([nn.Linear(inputs, DIMS, bias=False)])


def encode(boxes, per_coordinate):
    """Sine encoding of y, x, w, h by so many numbers each, as mmdet's coordinate_to_encoding."""
    frequency = torch.arange(per_coordinate)
    frequency = 10000 ** (2 * torch.div(frequency, 2, rounding_mode='floor') / per_coordinate)
    angles = boxes[..., None] * 2 * math.pi / frequency
    pairs = torch.stack((angles[..., 0::2].sin(), angles[..., 1::2].cos()), dim=-1)
    return pairs.flatten(2).flatten(1)


def test_the_widened_weight_gives_the_same_queries():
    torch.manual_seed(0)
    old = torch.randn(DIMS, 2 * DIMS)
    boxes = torch.rand(7, 4)
    wanted = encode(boxes, DIMS // 2) @ old.T
    state = {f'host.{KEY}': old}
    widen_reference_points(Host(4 * DIMS), state, 'host.')
    new = state[f'host.{KEY}']
    assert new.shape == (DIMS, 4 * DIMS)
    torch.testing.assert_close(encode(boxes, DIMS) @ new.T, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('state', [{}, {KEY: torch.ones(DIMS, 4 * DIMS)}, {KEY: torch.ones(3)}])
def test_other_weights_stay_as_they_are(state):
    kept = dict(state)
    widen_reference_points(Host(4 * DIMS), state, '')
    assert state.keys() == kept.keys() and all(state[key] is kept[key] for key in kept)


def test_the_encoding_is_the_hosts():
    mmdet = pytest.importorskip('mmdet.models.layers.transformer.utils')
    boxes = torch.rand(5, 4)
    found = mmdet.coordinate_to_encoding(boxes[None], num_feats=DIMS)[0]
    wanted = encode(boxes, DIMS).unflatten(1, (4, -1))[:, [1, 0, 2, 3]].flatten(1)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
