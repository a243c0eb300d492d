"""Probes and relearning on cases that can be worked out by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from knowswap_mm.audit.attacks.linear_probe import LinearProbe
from knowswap_mm.audit.attacks.prototype_probe import PrototypeProbe
from knowswap_mm.audit.attacks.relearning import Relearning
from knowswap_mm.audit.case import Case
from knowswap_mm.audit.readers.reader import Units
from knowswap_mm.audit.statistics import Verdict

FORGET, RETAIN = 'forget', 'retain'


class Features:
    """A model whose features are given."""

    def __init__(self, train, test):
        self.given = dict(train=train, test=test)

    def units(self, split, role):
        features, labels = self.given[split][role]
        features, labels = np.asarray(features, float), np.asarray(labels)
        return Units(features, labels, labels, np.zeros(len(labels)))


FIXED = SimpleNamespace(
    data=SimpleNamespace(roles=lambda split: [FORGET, RETAIN]),
    reader=SimpleNamespace(unit='image'),
    seed=0,
)


def test_prototypes_by_hand():
    # Class 0 lies along x, class 1 along y. Of four forgotten units three are nearer to x.
    train = {FORGET: ([[1, 0], [2, 0]], [0, 0]), RETAIN: ([[0, 1], [0, 3]], [1, 1])}
    asked = [[5, 1], [3, 0], [1, 0.9], [0.1, 4]]
    test = {FORGET: (asked, [0] * 4)}
    found = PrototypeProbe(shots=1, draws=3).measure(Features(train, test), FIXED)
    assert found.value == 0.75
    assert found.low == pytest.approx(0.3006, abs=1e-4)  # Wilson for three of four
    assert found.high == pytest.approx(0.9544, abs=1e-4)


def test_a_linear_probe_counts_forgotten_units_alone():
    # Forgotten units lie on the right but for two of ten, which sit among the retained ones.
    rng = np.random.default_rng(0)
    right = np.c_[np.full(8, 10.0), rng.normal(size=8)]
    left = np.c_[np.full(40, -10.0), rng.normal(size=40)]
    test = {
        FORGET: (np.r_[right, left[:2] + 0.01], [0] * 10),
        RETAIN: (left, [1] * 40),
    }
    found = LinearProbe().measure(Features({}, test), FIXED)
    assert found.value == 0.8


def test_a_linear_probe_needs_units_for_its_folds(raises_config_error):
    few = {FORGET: ([[0.0]] * 3, [0] * 3), RETAIN: ([[1.0]] * 4, [1] * 4)}
    with raises_config_error('audit.settings.LinearProbe.folds', 5, 'more than 4 test images'):
        LinearProbe().measure(Features({}, few), FIXED)


class Counter(nn.Module):
    """A host that knows the forgotten class when its weight has come far enough."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(float(weight)))
        self.data_preprocessor = lambda batch, training: batch

    def loss(self, inputs, data_samples):
        return dict(loss=-self.weight)

    def parse_losses(self, losses):
        return losses['loss'], losses


class CounterReader:
    """Reads whether the weight is above one."""

    unit, batch_size = 'image', None

    def read(self, host, batch, own):
        known = float(host.weight) > 1 - 1e-6
        count = len(batch['inputs'])
        labels, predicted = np.zeros(count, int), np.full(count, 0 if known else 1)
        return Units(np.zeros((count, 1)), labels, predicted, np.zeros(count))


class CounterData:
    """Ten samples of each role."""

    def roles(self, split):
        return [FORGET, RETAIN]

    def labels(self, role):
        return {0}

    def positions(self, split, role):
        return list(range(10))

    def batches(self, split, positions, batch_size=None):
        yield dict(inputs=positions, data_samples=positions)


def test_steps_to_relearn_by_hand():
    # Adam's first steps have the length of the learning rate: 0.1 a step (the decay is below 1 %).
    part = Relearning(lr=0.1, steps=16, batch_size=4, repeats=2)
    subject = {name: SimpleNamespace(host=Counter(weight)) for name, weight in
               dict(before=2, after=0.55, reference=-9).items()}  # fmt: skip
    for each in subject.values():
        each.remembered = lambda key, measure: measure()
    case = Case(
        subject['before'], subject['after'], [subject['reference']], CounterData(), CounterReader()
    )
    finding, table = part.run(case)
    # Five steps are needed, and it is looked at after the sixth; the reference does not get there.
    assert finding.details['steps'] == dict(before=[0, 0], after=[6, 6], reference=[None, None])
    assert finding.after.value == pytest.approx(-np.log2(7))
    assert finding.floor.value == pytest.approx(-np.log2(17))
    assert finding.verdict is Verdict.RECOVERED
    assert table.rows == [
        ['before', '0, 0', 0],
        ['after', '6, 6', 10],  # of the twelve draws only ten are different samples
        ['reference', 'more than 16, more than 16', None],
    ]
