import itertools

import numpy as np
import pytest

from knowswap_mm.audit.attacks.similarity import alignment


def independence(left, right):
    """The unbiased estimate as its definition has it: a mean over all different quadruples."""
    n = len(left)
    k, m = left @ left.T, right @ right.T
    terms = [
        k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q])
        for i, j, q, r in itertools.permutations(range(n), 4)
    ]
    return sum(terms) / len(terms)


def test_by_the_definition():
    rng = np.random.default_rng(0)
    left = rng.normal(size=(6, 3))
    right = np.c_[left[:, 0] + 0.3 * rng.normal(size=6), rng.normal(size=(6, 1))]
    wanted = independence(left, right) / np.sqrt(
        independence(left, left) * independence(right, right)
    )
    assert alignment(left, right) == pytest.approx(wanted)


def test_turning_and_scaling_change_nothing():
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(40, 8))
    turn, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    assert alignment(rows, 3 * rows @ turn + 5) == pytest.approx(1)


def test_unrelated_features_have_none():
    # The biased measure would be near 0.8 here: as many channels as samples.
    rng = np.random.default_rng(2)
    found = [alignment(rng.normal(size=(60, 60)), rng.normal(size=(60, 60))) for _ in range(20)]
    assert abs(np.mean(found)) < 0.05


def test_constant_features():
    assert alignment(np.ones((5, 2)), np.arange(10.0).reshape(5, 2)) == 0
