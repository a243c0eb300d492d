import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowswap_mm.audit.statistics import Estimate, Verdict


def near(value, half=0.02):
    return Estimate(value, value - half, value + half)


def below(value):
    return Estimate(value, -math.inf, value)


@pytest.mark.parametrize(
    ('after', 'floor', 'before', 'verdict'),
    [
        (near(0.9), near(0.5), near(0.9), 'recovered'),
        (near(0.6), near(0.5), near(0.9), 'recovered'),
        (near(0.5), near(0.5), near(0.9), 'not recovered'),
        (near(0.52), near(0.5), near(0.9), 'unclear'),
        (near(0.5, 0.2), near(0.5), near(0.9), 'unclear'),
        (near(0.3), near(0.5), near(0.9), 'over-forgotten'),
        (near(0.5), None, near(0.9), 'unclear'),
        (near(0.5), near(0.5), near(0.51), 'no power'),
        (near(0.3), near(0.5), near(0.51), 'over-forgotten'),
        (near(0.8), near(0.5), near(0.51), 'recovered'),
        (below(0.1), below(0.1), near(0.9), 'no power'),
        (below(0.1), near(0.1), near(0.9), 'not recovered'),
        (near(0.3), below(0.1), near(0.9), 'recovered'),
        (near(0.1), below(0.1), near(0.9), 'unclear'),
    ],
)
def test_verdicts(after, floor, before, verdict):
    assert str(Verdict.judge(after, floor, before, margin=0.1)) == verdict


NONE, ALL = Estimate.exact(0.0), Estimate.exact(1.0)
WEAK = Estimate(1.0, 0.0, 1.0)  # its interval reaches the floor: no power


@pytest.mark.parametrize(
    ('after', 'before', 'margin', 'verdict'),
    [
        (Estimate(0.25, 0.25, 0.5), ALL, 0.25, 'unclear'),
        (Estimate(0.3, 0.2500001, 0.5), ALL, 0.25, 'recovered'),
        (Estimate.exact(0.25), ALL, 0.25, 'not recovered'),
        (Estimate(0.2, 0.0, 0.2500001), ALL, 0.25, 'unclear'),
        (Estimate.exact(-0.25), ALL, 0.25, 'not recovered'),
        (Estimate.exact(-0.2500001), ALL, 0.25, 'over-forgotten'),
        (Estimate.exact(0.1), ALL, None, 'not recovered'),
        (Estimate.exact(0.1000001), ALL, None, 'recovered'),
        (Estimate.exact(0.25), Estimate(1.0, 0.5, 1.5), 0.25, 'not recovered'),
        (NONE, WEAK, 0.25, 'no power'),
        (NONE, Estimate(1.0, 1e-9, 1.0), 0.25, 'not recovered'),
        (Estimate.exact(0.02), WEAK, 0.25, 'no power'),
        (Estimate.exact(0.0200001), WEAK, 0.25, 'recovered'),
        (Estimate.exact(-0.02), WEAK, 0.25, 'no power'),
        (Estimate.exact(-0.0200001), WEAK, 0.25, 'over-forgotten'),
    ],
)
def test_each_threshold_belongs_to_the_weaker_claim(after, before, margin, verdict):
    """Exactly at a threshold nothing is claimed that lies beyond it (issue 25)."""
    settings = {} if margin is None else dict(margin=margin)
    assert str(Verdict.judge(after, NONE, before, **settings)) == verdict


@given(st.floats(0, 1), st.floats(0.1, 1), st.floats(0.001, 0.04), st.floats(0, 0.9))
def test_the_ends_of_the_scale(floor, scale, half, margin):
    low, high = near(floor, half), near(floor + scale, half)
    assert Verdict.judge(low, low, high, margin) is not Verdict.RECOVERED
    if 3 * half < (1 - margin) * scale:
        assert Verdict.judge(high, low, high, margin) is Verdict.RECOVERED


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_more_knowledge_never_reads_as_less(after, more, floor):
    order = ['over-forgotten', 'no power', 'not recovered', 'unclear', 'recovered']
    first, second = sorted((after, more))
    found = [
        order.index(str(Verdict.judge(near(value), near(floor), near(0.9))))
        for value in (first, second)
    ]
    assert found[0] <= found[1]
