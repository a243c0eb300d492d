"""Looks are compared sample by sample."""

import math

import numpy as np
import pytest

from knowswap_mm.engine.guard.look import Change, Look


def nats(values):
    return {(i, 0): float(value) for i, value in enumerate(values)}


def test_differences_are_paired():
    rng = np.random.default_rng(0)
    before = rng.exponential(3.0, 40)
    change = Change.of(nats(before), nats(before + 0.2 + rng.normal(0, 0.01, 40)))
    assert change.mean == pytest.approx(0.2, abs=0.01) and change.error < 0.01
    assert change.exceeds(0.15) and not change.exceeds(0.2)
    assert (-change).mean == -change.mean
    single = Change.of({(0, 0): 1.0, (1, 0): 1.0}, {(1, 0): 9.0, (2, 0): 0.0})
    assert single.error == math.inf and not single.exceeds(0.0)  # one pair says nothing


def test_one_large_loss_is_no_proof():
    before = np.ones(30)
    after = before.copy()
    after[3] = 100.0
    assert not Change.of(nats(before), nats(after)).exceeds(0.5)


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_losses_that_are_not_finite(value):
    change = Change.of(nats([1, 1, 1]), nats([1, value, 1]))
    assert change.exceeds(1e9)
    capped = Change.of(nats([1, 1, 1]), nats([1, value, 1]), 4.0)
    assert math.isfinite(capped.mean) is (value == math.inf)


def test_sums_and_ceilings():
    parts = [Change(1.0, 0.3), Change(-0.5, 0.4)]
    assert Change.total(parts) == Change(0.5, pytest.approx(0.5))
    assert Change.of(nats([0, 1]), nats([9, 9]), 2.0).mean == 1.5


def test_a_look_in_a_checkpoint():
    look = Look(7, 0.01, False, dict(retain={(0, 3): 1.5, (0, 4): 0.5}, learn={(2, 9): 4.0}))
    assert Look.from_dict(look.to_dict()) == look
    assert look.mean('retain') == 1.0
