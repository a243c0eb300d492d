"""Probes and relearning on cases that can be worked out by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize
from torch import nn

from knowswap_mm.audit.attacks.knn_probe import KNNProbe, Neighbours
from knowswap_mm.audit.attacks.linear_probe import LinearProbe
from knowswap_mm.audit.attacks.prototype_probe import NearestMean, PrototypeProbe
from knowswap_mm.audit.attacks.prototype_relearning import set_rows
from knowswap_mm.audit.attacks.relearning import Relearning
from knowswap_mm.audit.case import Case
from knowswap_mm.audit.probing import draw_examples, named_beyond_chance
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
        # A layer before the head that has the classes the other way round.
        layers = {'block': features[:, ::-1]}
        return Units(features, labels, labels, np.zeros(len(labels)), layers=layers)

    def remembered(self, key, measure):
        return measure()


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
    found = PrototypeProbe(draws=3).measure(Features(train, test), FIXED, 1)
    assert found.value == 0.75
    assert found.low == pytest.approx(0.3006, abs=1e-4)  # Wilson for three of four
    assert found.high == pytest.approx(0.9544, abs=1e-4)


def test_neighbours_by_hand():
    # By angle class 0 lies at 0, 10 and 80 degrees, class 1 at 60, 70 and 90.
    train = {FORGET: (circle(0, 10, 80), [0] * 3), RETAIN: (circle(60, 70, 90), [1] * 3)}
    # One neighbour: 0, 80 and 60 degrees are nearest. Three: at 78 degrees 80, 70 and 90 are.
    test = {FORGET: (circle(2, 78, 55), [0] * 3)}
    model = Features(train, test)
    assert KNNProbe(neighbours=1, draws=2).measure(model, FIXED).value == pytest.approx(2 / 3)
    assert KNNProbe(neighbours=3, draws=2).measure(model, FIXED).value == pytest.approx(2 / 3)
    # Of two votes against one the nearer one wins: 2 degrees against 8 and 12.
    assert KNNProbe(neighbours=99).measure(model, FIXED).value == pytest.approx(2 / 3)


@given(st.integers(0, 99), st.integers(1, 7))
@settings(max_examples=20, deadline=None)
def test_neighbours_are_those_of_scikit_learn(seed, count):
    rng = np.random.default_rng(seed)
    rows, asked = (normalize(rng.normal(size=(size, 3))) for size in (20, 30))
    labels = rng.integers(3, size=20)
    theirs = KNeighborsClassifier(count, weights='distance').fit(rows, labels).predict(asked)
    assert Neighbours(count).fit(rows, labels).predict(asked).tolist() == theirs.tolist()


def circle(*degrees):
    return np.c_[np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]


def test_a_nearest_mean_is_that_of_the_whole_class():
    means = NearestMean().fit(np.array([[0.0], [4.0], [3.0]]), np.array([7, 7, 9]))
    assert means.predict(np.array([[2.4], [2.6], [-9.0]])).tolist() == [7, 9, 7]


LABELS = st.lists(st.integers(0, 3), min_size=1, max_size=30).map(np.array)


@given(LABELS, st.integers(1, 6), st.integers(1, 6), st.integers(0, 9))
def test_examples_are_a_function_of_labels_and_seed(labels, shots, more, seed):
    few = draw_examples(labels, shots, 3, seed)
    again = draw_examples(labels.copy(), shots, 3, seed)
    many = draw_examples(labels, shots + more, 3, seed)
    for one, two, three in zip(few, again, many, strict=True):
        assert one.tolist() == two.tolist() and set(one) <= set(three)
        for label in np.unique(labels):
            chosen = [p for p in one if labels[p] == label]
            assert len(set(chosen)) == len(chosen) == min(shots, (labels == label).sum())


def test_shots_and_places():
    train = {FORGET: ([[1, 0], [2, 0], [1, 0.1]], [0] * 3), RETAIN: ([[0, 1]] * 2, [1] * 2)}
    test = {FORGET: ([[5, 1], [3, 0]], [0] * 2), RETAIN: ([[0, 1]], [1])}
    models = [Features(train, test) for _ in range(3)]
    case = Case(*models[:2], models[2:], FIXED.data, FIXED.reader)
    found = PrototypeProbe().run(case)
    # No class has more than three examples: 20 shots would be the same as 5.
    assert [each.attack for each in found[::2]] == ['prototype probe, 1 shot',
                                                    'prototype probe, 5 shots']  # fmt: skip
    assert [each.remark for each in found[::2]] == ['', 'A class has only 2 training images.']
    curve = found[1]
    assert curve.places == ['block', 'head'] and list(curve.by_model) == [
        'before', 'after', 'reference'
    ]  # fmt: skip
    assert [each.value for each in curve.by_model['after']] == [1, 1]
    assert curve.gaps() == [0, 0]
    assert curve.table().rows == [['block', 1, 1, 1, 0], ['head', 1, 1, 1, 0]]
    for model in models:  # classes lie the other way round before the head, in train alone
        model.given['train'] = {r: (np.asarray(f)[:, ::-1], y) for r, (f, y) in train.items()}
        model.given['train']['retain'] = ([[1, 0]] * 2, [1] * 2)
    finding, curve = PrototypeProbe(shots=1).run(case)
    assert finding.after.value == 0 and curve.by_model['after'][0].value == 0
    assert PrototypeProbe(shots=[5, 1, 5]).shots == [1, 5]
    assert PrototypeProbe().draws == KNNProbe().draws == 20


@pytest.mark.parametrize('shots', [[], [0], [1, 'a'], {}])
def test_bad_shots(shots, raises_config_error):
    value = shots[-1] if shots else shots
    with raises_config_error('audit.parts.PrototypeProbe.shots', value):
        PrototypeProbe(shots=shots)


@pytest.mark.parametrize('kernel', [False, True])
def test_rows_by_hand(kernel):
    layer = nn.Conv2d(2, 4, 1) if kernel else nn.Linear(2, 4)
    rows = torch.tensor([[9.0, 9.0], [3.0, 4.0], [9.0, 9.0], [0.0, 7.0]])
    layer.weight.data = rows.reshape(layer.weight.shape)
    layer.bias.data = torch.tensor([9.0, 1.0, 9.0, 2.0])
    features = np.array([[2.0, 0.0], [4.0, 0.0], [0.0, 0.5]], np.float32)
    set_rows(layer, features, np.array([0, 0, 2]))
    # The others are 5 and 7 long, so that the new ones are 6.
    wanted = torch.tensor([[6.0, 0.0], [3.0, 4.0], [0.0, 6.0], [0.0, 7.0]])
    torch.testing.assert_close(layer.weight.data.flatten(1), wanted)
    assert layer.bias.tolist() == [1.5, 1, 1.5, 2]


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
    """Reads whether the weight is above one; above five, everything is called the forgotten class.

    Samples from the tenth on are retained ones.
    """

    unit, batch_size = 'image', None

    def answers(self, host, batch, own):
        labels = (np.array(batch['inputs']) >= 10).astype(int)
        weight = float(host.weight)
        named = (labels == 0) & (weight > 1 - 1e-6) | (weight >= 5)
        return labels, np.where(named, 0, 1)


class CounterData:
    """Ten samples of each role."""

    test_batch_size = 32

    def roles(self, split):
        return [FORGET, RETAIN]

    def labels(self, role):
        return {0}

    def positions(self, split, role):
        return list(range(10)) if role == FORGET else list(range(10, 20))

    def batches(self, split, positions, batch_size=None):
        yield dict(inputs=positions, data_samples=positions)


def test_a_name_for_everything_is_no_knowledge():
    case = Case(None, None, [], CounterData(), CounterReader())
    named = [named_beyond_chance(Counter(w), case, 300) for w in (0, 2, 9)]
    assert named == [0.0, 1.0, 0.0]


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
