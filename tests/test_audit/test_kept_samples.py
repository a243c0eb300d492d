"""Loaded samples are kept, and nobody notices but by the time."""

import numpy as np
import torch

from knowswap_mm.audit.data import KeptSamples


class Counted:
    """Samples with a number in them; counts how often each is loaded."""

    def __init__(self):
        self.loaded = []

    def __getitem__(self, position):
        self.loaded.append(position)
        return dict(inputs=torch.full((3, 8), position), data_samples=dict(label=position))


def test_each_is_loaded_once_and_given_as_a_copy():
    dataset = Counted()
    kept = KeptSamples(dataset)
    first = kept[3]
    first['inputs'].zero_()
    first['data_samples']['pred'] = 7  # as hosts do
    again = kept[3]
    assert again['inputs'].eq(3).all() and again['data_samples'] == dict(label=3)
    assert kept[4]['data_samples'] == dict(label=4)
    assert dataset.loaded == [3, 4]


def test_no_more_than_there_is_room_for():
    dataset = Counted()
    kept = KeptSamples(dataset, room=1000)  # two samples at most
    for _ in range(2):
        values = [int(kept[number]['inputs'][0, 0]) for number in range(10)]
        np.testing.assert_array_equal(values, range(10))
    assert 0 < len(dataset.loaded) - 10 < 10  # the first ones were kept
    nothing = KeptSamples(Counted(), room=0)
    assert [nothing[5]['data_samples'] for _ in range(2)] == [dict(label=5)] * 2
