"""What the curves of a phase say, and when they say nothing."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowswap_mm.runs.stretch import Stretch, still_falling
from tests.helpers.made_runs import curve, made_run

END = dict(learn=70.0, forget=0.0, retain=78.0)


def points(values):
    return list(enumerate(values))


@pytest.mark.parametrize(
    ('values', 'falls'),
    [
        ([3.0 - 0.1 * n for n in range(20)], True),  # a straight line
        ([3.0 * 0.5**n for n in range(20)], False),  # it has come to rest
        ([3.0 * 0.97**n for n in range(20)], True),
        ([1.0] * 20, False),
        ([1.0 + 0.1 * n for n in range(20)], False),  # it rises
        ([3.0 - 0.1 * n for n in range(7)], False),  # too few points
        ([3, 2, 1, 0.5, 0.5, 0.4, 0.6, 0.4, 0.5, 0.3, 0.6, 0.4], False),  # noise around 0.5
    ],
)
def test_a_curve_that_is_not_at_rest(values, falls):
    assert (still_falling(points(values)) is not None) is falls


@pytest.mark.parametrize(('count', 'share'), [(8, 0.13), (40, 0.06)])
def test_noise_seldom_falls(count, share):
    """Twice the error of the means is passed by chance as often as that."""
    draws = random.Random(0)
    curves = ([1 + 0.3 * draws.random() for _ in range(count)] for _ in range(500))
    assert sum(still_falling(points(values)) is not None for values in curves) <= 500 * share


@given(st.lists(st.floats(0, 100), min_size=8, max_size=30), st.sampled_from([0.01, 8.0, 1024.0]))
def test_the_unit_does_not_matter(values, unit):
    scaled = still_falling(points([unit * value for value in values]))
    assert (scaled is None) == (still_falling(points(values)) is None) or not any(values)


def test_retain_jumps_only_out_of_its_noise():
    before = curve(0, [0.5, 0.6, 0.4, 0.5] * 2 + [0.5, 0.6])
    calm = curve(100, [0.6, 0.5, 0.7, 0.5, 0.6, 0.4, 0.5, 0.5, 0.6, 0.5])
    wild = curve(100, [0.6, 2.0, 14.0, 9.0, 3.0, 2.0, 2.0, 2.0, 2.0, 2.0])
    for values, found in ((calm, None), (wild, (20, 0.55, 14.0))):
        run = made_run(END, END, logged={'retain/raw': before | values})
        jump = Stretch.of_run(run)[1].retain_jump()
        assert jump == (None if found is None else (found[0], pytest.approx(found[1]), found[2]))
    alone = made_run(END, kinds=['forget'], logged={'retain/raw': curve(0, [1.0, 14.0, 9.0])})
    assert Stretch.of_run(alone)[0].retain_jump() is None  # nothing to compare with


def test_what_a_decision_took_back_is_not_seen():
    back = dict(at=140, phase=1, kind='back', to=120, lr_factor=0.3, reason='x')
    logged = {'forget/raw': curve(100, range(1, 11))}
    run = made_run(END, END, logged=logged, decisions=[back])
    steps = [step for step, _ in Stretch.of_run(run)[1].logged('forget/raw')]
    assert steps == [110, 120, 150, 160, 170, 180, 190, 200]


def test_lengths_are_told_in_the_unit_of_the_config():
    run = made_run(END, END, settings=dict(epoch_length=25))
    assert Stretch.of_run(run)[0].longer() == 'raise swap.phases.0.epochs (4 now)'
    run = made_run(END, END)
    assert Stretch.of_run(run)[1].longer() == 'raise swap.phases.1.iters (100 now)'


@pytest.mark.parametrize(
    ('settings', 'config', 'text'),
    [
        ({}, None, 'swap.phases.1.lr_factor=0.3) or clip gradients (optim_wrapper.clip_grad='),
        (dict(lr_factor=0.5), 'clip_grad=None', 'swap.phases.1.lr_factor=0.15) or clip gradients'),
        (dict(restart_lr=False), 'clip_grad=dict(max_norm=0.1)', '(optim_wrapper.optimizer.lr)'),
    ],
)
def test_a_gentler_step_is_told_by_what_is_set(settings, config, text):
    found = Stretch.of_run(made_run(END, END, settings=settings, config=config))[1].gentler()
    assert text in found and (found.endswith(text) or 'clip gradients' in text)
