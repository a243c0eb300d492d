import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowswap_mm.audit.statistics import Estimate, mean_of_references


def test_a_share_has_wilsons_interval():
    found = Estimate.of_share([True] * 8 + [False] * 2)
    n, p, z = 10, 0.8, 1.959964
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    assert found.value == 0.8
    assert (found.low, found.high) == pytest.approx((middle - half, middle + half), abs=1e-6)


def test_a_mean_has_students_interval():
    found = Estimate.of_mean([1.0, 2.0, 4.0])
    half = 4.302653 * np.std([1, 2, 4], ddof=1) / math.sqrt(3)
    assert found.value == pytest.approx(7 / 3)
    assert found.high - found.value == pytest.approx(half, rel=1e-5)
    assert Estimate.of_mean([1.0, 2.0]).high == pytest.approx(1.5 + 12.7062 / 2, rel=1e-5)
    assert Estimate.of_mean([3.0]) == Estimate(3.0, -math.inf, math.inf)


def test_a_difference_by_hand():
    found = Estimate(0.5, 0.4, 0.8).minus(Estimate(0.2, 0.16, 0.28))
    assert found.value == pytest.approx(0.3)
    assert found.low == pytest.approx(0.3 - math.hypot(0.1, 0.08))
    assert found.high == pytest.approx(0.3 + math.hypot(0.3, 0.04))


numbers = st.floats(0, 1)


@given(numbers, numbers, numbers)
def test_a_difference_with_something_exact_only_shifts(value, width, other):
    estimate = Estimate(value, value - width, value + width)
    found = estimate.minus(Estimate.exact(other))
    assert found.value == value - other
    assert found.low == pytest.approx(value - width - other)
    assert found.high == pytest.approx(value + width - other)


def test_references_that_differ_widen_the_interval():
    one = Estimate(0.5, 0.45, 0.55)
    assert mean_of_references([one]) == one
    same = mean_of_references([one, one])
    assert same.high == pytest.approx(0.5 + 0.05 / math.sqrt(2))
    apart = mean_of_references([one, Estimate(0.7, 0.65, 0.75)])
    # The spread of one further model, in a normal prediction interval.
    spread = 1.959964 * np.std([0.5, 0.7], ddof=1) * math.sqrt(1.5)
    assert apart.value == pytest.approx(0.6)
    assert apart.high - 0.6 == pytest.approx(math.hypot(spread, 0.05 / math.sqrt(2)), rel=1e-5)


def test_as_text():
    assert str(Estimate(0.5, 0.4, 0.6)) == '0.500 [0.400, 0.600]'
    assert str(Estimate.exact(0.5)) == '0.500'
