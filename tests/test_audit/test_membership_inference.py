import math

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.metrics import roc_auc_score

from knowswap_mm.audit.attacks.membership_inference import auc, modified_entropy, scores
from knowswap_mm.audit.readers.reader import Units

CHANCES = np.array([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1]])


def units_of(chances, labels, losses=None):
    chances, labels = np.asarray(chances, float), np.asarray(labels)
    if losses is None:
        losses = -np.log(chances[np.arange(len(labels)), labels])
    with np.errstate(divide='ignore'):
        logits = np.log(chances)
    return Units(np.zeros((len(labels), 1)), labels, chances.argmax(1), losses, logits)


def test_modified_entropy_by_hand():
    found = modified_entropy(np.log(CHANCES), np.array([0, 1]))
    right = -0.3 * math.log(0.7) - 0.2 * math.log(0.8) - 0.1 * math.log(0.9)
    wrong = -0.8 * math.log(0.2) - 0.7 * math.log(0.3) - 0.1 * math.log(0.9)
    assert found == pytest.approx([right, wrong])


def test_modified_entropy_tells_confident_mistakes_from_confident_answers():
    # Entropy does not: it is zero for both.
    logs = log_softmax(np.array([[80.0, 0, 0], [80.0, 0, 0]]), axis=1)
    right, wrong = modified_entropy(logs, np.array([0, 1]))
    assert right == pytest.approx(0, abs=1e-9)
    assert np.isfinite(wrong) and wrong > 80


def test_scores_by_hand():
    found = scores(units_of(CHANCES, [0, 1]))
    assert found['loss'] == pytest.approx([math.log(0.7), math.log(0.2)])
    assert found['confidence'] == pytest.approx([math.log(0.7)] * 2)
    entropy = -sum(p * math.log(p) for p in CHANCES[0])
    assert found['entropy'] == pytest.approx([-entropy] * 2)
    assert set(found) == {'loss', 'confidence', 'entropy', 'modified entropy'}


def test_without_answers_only_the_loss_is_attacked():
    units = Units(np.zeros((3, 1)), np.zeros(3, int), np.zeros(3, int), np.array([1.0, 2.0]))
    assert set(scores(units)) == {'loss'}
    assert scores(units)['loss'].tolist() == [-1, -2]


def test_auc_by_hand():
    # Of the four pairs three are in order; a tie counts half.
    assert auc(np.array([3.0, 1.0]), np.array([2.0, 0.0]), 50, 0).value == 0.75
    assert auc(np.array([3.0, 1.0]), np.array([1.0, 0.0]), 50, 0).value == 0.875
    perfect = auc(np.array([3.0, 4.0]), np.array([2.0, 0.0]), 50, 0)
    assert (perfect.value, perfect.low, perfect.high) == (1, 1, 1)


def test_one_sample_alone_says_nothing():
    found = auc(np.array([3.0, 4.0]), np.array([2.0]), 50, 0)
    assert (found.value, found.low, found.high) == (1, 0, 1)


def test_auc_of_a_library_and_its_interval():
    rng = np.random.default_rng(0)
    members, others = rng.normal(0.5, 1, 150), rng.normal(0, 1, 250)
    found = auc(members, others, 500, 0)
    labels = np.r_[np.ones(150), np.zeros(250)]
    assert found.value == pytest.approx(roc_auc_score(labels, np.r_[members, others]))
    # Hanley and McNeil's standard error is a rough one; the interval is about two of them.
    a = found.value
    q, r = a / (2 - a), 2 * a * a / (1 + a)
    error = math.sqrt((a * (1 - a) + 149 * (q - a * a) + 249 * (r - a * a)) / (150 * 250))
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.25)
    assert auc(members, others, 500, 0) == found


def test_the_interval_covers_chance_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(60):
        found = auc(rng.normal(size=80), rng.normal(size=80), 200, seed)
        covered += found.low <= 0.5 <= found.high
    assert covered >= 52  # 57 are expected; fewer than 52 have a probability below 1 %
