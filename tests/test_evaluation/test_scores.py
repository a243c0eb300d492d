import pytest

from knowswap_mm.evaluation import forgetting_h_mean, swap_score


@pytest.mark.parametrize(
    'before, forget, retain, wanted',
    [
        (90.0, 0.0, 80.0, 2 * 90 * 80 / 170),
        (90.0, 30.0, 60.0, 60.0),
        (0.8, 0.2, 0.4, 0.48),
        (90.0, 90.0, 80.0, 0.0),  # nothing was forgotten
        (90.0, 95.0, 80.0, 0.0),  # it even rose
        (90.0, 0.0, 0.0, 0.0),  # nothing was retained
        (0.0, 0.0, 0.0, 0.0),
    ],
)
def test_forgetting_h_mean(before, forget, retain, wanted):
    assert forgetting_h_mean(before, forget, retain) == pytest.approx(wanted)


@pytest.mark.parametrize(
    'metrics, scale, wanted',
    [
        (dict(learn=80.0, forget=20.0, retain=80.0), 100, 80.0),
        (dict(learn=90.0, forget=0.0, retain=60.0), 100, 3 / (1 / 90 + 1 / 100 + 1 / 60)),
        (dict(learn=0.5, forget=0.75, retain=0.25), 1, 3 / (2 + 4 + 4)),
        (dict(forget=10.0, retain=90.0), 100, 90.0),
        (dict(learn=70.0), 100, 70.0),
        (dict(learn=100.0, forget=0.0, retain=100.0), 100, 100.0),
        (dict(learn=0.0, forget=0.0, retain=100.0), 100, 0.0),
        (dict(learn=90.0, forget=100.0, retain=90.0), 100, 0.0),
        ({}, 100, 0.0),
    ],
)
def test_swap_score(metrics, scale, wanted):
    assert swap_score(metrics, scale) == pytest.approx(wanted)
