"""What looks mean: numbers in, decisions out."""

import math
from dataclasses import replace

import numpy as np
import pytest

from knowswap_mm.engine.guard.judge import Watched, is_harm, judge
from knowswap_mm.engine.guard.look import Look
from knowswap_mm.engine.guard.options import GuardOptions
from knowswap_mm.schedule import Decision, SwapSchedule

#: 36 classes, as in the grocery photos.
CHANCE = math.log(36)
LENGTH = 100


def watched(kind='forget', bound=105.0, decisions=(), options=None, silence=None, **settings):
    settings |= dict(bound=bound) if kind in ('forget', 'joint') else {}
    phases = [dict(settings, kind=kind, iters=LENGTH)]
    sizes = dict(learn=100, forget=100, retain=100)
    phase = SwapSchedule.from_config(dict(phases=phases), sizes, 12).phases[0]
    options = options or GuardOptions()
    return Watched(phase, LENGTH, CHANCE, silence or CHANCE, tuple(decisions), options)


def look(at, settled=False, **means):
    """A look in which samples lie about their mean, each in its own place."""
    rng = np.random.default_rng(0)
    spread = rng.exponential(0.5, 24) - 0.5
    nats = {
        role: {(i, 0): max(mean * (1 + 0.1 * s), 0.0) for i, s in enumerate(spread)}
        for role, mean in means.items()
    }
    return Look(at, 0.01, settled, nats)


def decide(case, *looks, good=None, best=None):
    return judge(case, looks, good or looks[0], best or looks[0])


START = look(0, retain=1.0, forget=0.5, learn=3.0)


def test_a_phase_that_does_well_goes_on():
    assert decide(watched(), START, look(12, retain=1.2, forget=5.0)) is None
    assert decide(watched('learn'), START, look(12, retain=1.2, learn=1.0)) is None


def test_back_when_retain_rose():
    decision = decide(watched(), START, look(12, retain=9.0, forget=110.0))
    assert (decision.kind, decision.to, decision.at, decision.lr_factor) == ('back', 0, 12, 0.5)
    for words in (
        'retain rose by', 'between iterations 0 and 12 of phase1_forget', 'learning rate of 0.01',
        'the forget loss went from 0.5', 'its bound is 105', 'that of chance is 3.58',
    ):  # fmt: skip
        assert words in decision.reason
    good = look(36, retain=1.1, forget=3.0)
    later = look(48, retain=9.0, forget=110.0)
    assert decide(watched(), START, good, later, good=good).to == 36


def test_the_tolerance_is_a_share_of_chance_and_needs_proof():
    small = look(LENGTH, retain=1.0 + 0.12 * CHANCE, forget=5.0)
    assert decide(watched(), START, small) is None
    strict = watched(options=GuardOptions(tolerance=0.08))
    assert decide(strict, START, small).kind == 'back'
    # It gets worse while the learning rate is high: what is tolerated shrinks to the end.
    limits = [watched().tolerated(look(at, retain=1.0)) / CHANCE for at in (0, 50, 75, LENGTH)]
    assert limits == pytest.approx([1.5, 1.1625, 0.740625, 0.15])
    assert decide(strict, START, replace(small, at=50)) is None
    loose = watched(options=GuardOptions(tolerance=3.0))
    assert loose.tolerated(small) == loose.tolerated(START) == 3 * CHANCE
    outlier = look(12, retain=1.0, forget=5.0)
    outlier.nats['retain'][3, 0] = 60.0
    assert decide(watched(), START, outlier) is None
    outlier.nats['retain'][3, 0] = math.nan
    assert decide(watched(), START, outlier).kind == 'back'


def test_stop_when_gentler_steps_did_not_help():
    backs = [Decision(10 * n, 0, 'back', to=0, lr_factor=0.5) for n in (1, 2)]
    bad = look(40, retain=9.0, forget=110.0)
    assert decide(watched(decisions=backs[:1]), START, bad).kind == 'back'
    assert decide(watched(decisions=backs), START, bad) is None  # it may recover by itself
    decision = decide(watched(decisions=backs), START, bad, replace(bad, at=52))
    assert decide(watched(decisions=backs), START, replace(bad, at=LENGTH)).kind == 'stop'
    assert (decision.kind, decision.to) == ('stop', 0)
    for words in (
        'swap.phases.0.bound (now 105) to about 7.2', 'optim_wrapper.optimizer.lr', 'max_norm=1.0',
        'tried again 2 times, down to 0.25',
    ):  # fmt: skip
        assert words in decision.reason
    none = watched(options=GuardOptions(steps_back=0))
    bad = replace(bad, at=LENGTH)
    assert decide(none, START, bad).kind == 'stop'
    assert 'bound' not in decide(watched('learn', options=none.options), START, bad).reason


def test_what_was_learned_is_kept_in_a_later_forget_phase():
    start = look(0, retain=1.0, forget=0.5, learn=0.3)
    bad = look(12, retain=1.0, forget=5.0, learn=9.0)
    assert decide(watched(merge_learned=True), start, bad).kind == 'back'
    assert 'learn rose' in decide(watched(merge_learned=True), start, bad).reason
    assert decide(watched(), start, bad) is None


def test_early_end_when_the_aim_is_reached_and_nothing_moves():
    start = look(0, retain=1.0, forget=0.5)
    looks = [start, *(look(at, True, retain=1.0, forget=6.0) for at in (12, 24, 60, 72))]
    decision = decide(watched(), *looks)
    assert (decision.kind, decision.to) == ('end', None) and 'aim is reached' in decision.reason
    assert decide(watched(), *looks[:3]) is None  # not before half of the phase
    high = [replace(each, settled=False) for each in looks]
    assert decide(watched(), *high) is None  # the rest of the schedule is worth more
    moving = [*looks[:-1], look(72, True, retain=0.8, forget=6.0)]
    assert decide(watched(), *moving) is None  # retain still recovers
    rest = [*looks[:3], look(60, True, retain=1.0, forget=3.0), looks[-1]]
    assert decide(watched(), *rest) is None  # reached, but not for two looks
    assert decide(watched(), START, *looks[1:]) is None  # a role was looked at in its ends alone
    learned = [look(0, retain=1.0, learn=4.0)]
    learned += [look(at, True, retain=1.0, learn=0.4) for at in (12, 24, 60, 72)]
    assert decide(watched('learn'), *learned).kind == 'end'
    assert decide(watched('expand'), *learned) is None  # it has no aim of its own


def test_losses_do_not_tell_how_far_forgetting_beneath_them_has_come():
    """No early end, and no earlier state that looks better; harm is seen all the same."""
    deep = replace(watched(bound='none'), beneath=True)
    start = look(0, retain=1.0, forget=9.0)
    looks = [start, *(look(at, True, retain=1.0, forget=9.0) for at in (12, 24, 60, 72))]
    assert decide(watched(bound='none'), *looks).kind == 'end'
    assert decide(deep, *looks) is None and decide(deep, *looks[:2]) is None
    end = look(LENGTH, True, retain=1.0 + 0.12 * CHANCE, forget=5.0)
    assert decide(watched(bound='none'), *looks, end).to == 0
    assert decide(deep, *looks, end) is None
    assert decide(deep, start, look(LENGTH, True, retain=9.0, forget=9.0)).kind == 'back'
    learns = replace(watched('learn'), beneath=True)
    learned = [look(0, retain=1.0, learn=4.0)]
    learned += [look(at, True, retain=1.0, learn=0.4) for at in (12, 24, 60, 72)]
    assert decide(learns, *learned).kind == 'end'


def test_bound_below_chance_is_the_aim():
    start = look(0, retain=1.0, forget=0.5)
    looks = [start, *(look(at, True, retain=1.0, forget=3.0) for at in (12, 24, 60, 72))]
    assert decide(watched(bound=2.5), *looks).kind == 'end'
    assert decide(watched(bound=105.0), *looks) is None


def test_extension_when_the_aim_is_not_reached():
    end = look(LENGTH, retain=1.0, forget=2.0)
    decision = decide(watched(), START, end, best=end)
    assert (decision.kind, decision.iters, decision.lr_factor) == ('extend', 50, 0.5)
    assert '0 of 24 watched forget samples' in decision.reason
    given = [Decision(LENGTH + n, 0, 'extend', iters=50) for n in (0, 50)]
    assert decide(watched(decisions=given[:1]), START, end, best=end).iters == 50
    assert decide(watched(decisions=given), START, end, best=end) is None  # its length in all
    assert decide(watched(options=GuardOptions(extend=0)), START, end, best=end) is None
    still = look(LENGTH, retain=1.0, forget=0.5)
    assert decide(watched(), START, still, best=still) is None  # more of it would not help
    done = look(LENGTH, retain=1.0, forget=5.0)
    assert decide(watched(), START, done, best=done) is None
    slow = look(LENGTH, retain=1.0, learn=2.5)
    decision = decide(watched('learn'), START, slow, best=slow)
    assert decision.kind == 'extend' and 'learn loss is 2.5' in decision.reason
    assert watched().missing(end) and not watched().missing(done)


def test_no_extension_if_the_second_half_of_a_stretch_brought_nothing():
    slow = [look(at, retain=1.0, learn=nats) for at, nats in ((30, 2.4), (60, 2.3), (LENGTH, 2.3))]
    assert decide(watched('learn'), START, *slow, best=slow[-1]) is None
    assert decide(watched('learn'), START, *slow[1:], best=slow[-1]).kind == 'extend'
    extended = watched('learn', decisions=[Decision(LENGTH, 0, 'extend', iters=50)])
    more = [*slow, look(LENGTH + 50, retain=1.0, learn=2.29)]
    assert decide(extended, START, *more, best=more[-1]) is None


def test_a_forget_phase_that_is_not_needed_ends_at_its_first_look():
    gone = look(0, retain=1.0, forget=12.0, learn=0.2)
    worse = look(12, retain=1.2, forget=26.0, learn=0.4)
    case = watched(bound=7.0, merge_learned=True)
    decision = decide(case, gone, worse)
    assert (decision.kind, decision.at, decision.to) == ('end', 12, 0)
    assert '24 of 24 watched forget samples' in decision.reason
    better = look(12, retain=0.9, forget=26.0, learn=0.1)
    assert decide(case, gone, better).to is None
    assert decide(watched(bound=7.0), START, worse) is None
    beyond = decide(watched(), gone, better)  # the bound lies beyond what was reached
    assert (beyond.kind, beyond.lr_factor) == ('back', 0.2)
    rest = look(0, retain=1.0, forget=12.0)
    rest.nats['forget'][3, 0] = 1.0
    assert decide(watched(bound=7.0), rest, better).kind == 'end'
    rest.nats['forget'][4, 0] = 1.0
    assert decide(watched(bound=7.0), rest, better).kind == 'back'  # more than a twentieth
    assert decide(watched('joint', bound=7.0), gone, better) is None


def test_a_forget_phase_with_little_left_begins_anew_with_a_gentler_step():
    start, after = look(0, retain=1.0, forget=12.0), look(12, retain=1.2, forget=26.0)
    for key in range(6):
        start.nats['forget'][key, 0] = 1.0
    case = watched(bound=7.0)
    decision = decide(case, start, after)
    assert (decision.kind, decision.to, decision.lr_factor) == ('back', 0, 0.2)
    assert '18 of 24 watched forget samples had lost their class' in decision.reason
    assert not is_harm(decision)
    eased = watched(bound=7.0, decisions=[decision])  # once a phase
    assert decide(eased, start, replace(start, at=24)) is None
    done = decide(eased, start, look(24, retain=1.2, forget=26.0))  # it ends as soon as it can
    assert (done.kind, done.to) == ('end', None) and '24 of 24 watched' in done.reason
    for at, factor in ((24, 0.5), (36, 0.5)):  # harm has its two steps back all the same
        saved = decide(eased, start, look(at, retain=9.0, forget=26.0))
        assert (saved.kind, saved.lr_factor, is_harm(saved)) == ('back', factor, True)
        eased = watched(bound=7.0, decisions=[*eased.decisions, saved])
    assert decide(eased, start, look(LENGTH, retain=9.0, forget=26.0)).kind == 'stop'
    start.nats['forget'][6, 0] = 1.0
    assert decide(case, start, after) is None  # more than a quarter is left
    assert decide(watched(bound='none'), start, after) is None  # it is about more than answers


def test_what_a_head_does_not_answer_is_the_aim():
    end = look(LENGTH, retain=1.0, forget=4.2)
    assert not watched().missing(end) and watched(silence=4.6).missing(end)


def test_the_best_state_is_kept():
    best = look(60, retain=1.0, forget=6.0)
    end = look(LENGTH, retain=1.0 + 0.14 * CHANCE, forget=90.0)
    decision = decide(watched(), START, best, end, best=best)
    assert (decision.kind, decision.to, decision.at) == ('end', 60, LENGTH)
    near = look(LENGTH, retain=1.1, forget=90.0)
    assert decide(watched(), START, best, near, best=best) is None  # not clearly better
    # A state before the forgetting is no better one.
    assert decide(watched(), START, near) is None


@pytest.mark.parametrize('value', ['yes', 1, None, []])
def test_wrong_options(value, raises_config_error):
    with raises_config_error('swap.guard', value):
        GuardOptions.from_swap(dict(guard=value))


def test_options(raises_config_error):
    assert GuardOptions.from_swap({}) == GuardOptions.from_swap(dict(guard=True)) == GuardOptions()
    assert GuardOptions.from_swap(dict(guard=False)) is None
    assert GuardOptions.from_swap(dict(holdout=0)) is None
    assert GuardOptions.from_swap(dict(guard=dict(looks=3))).looks == 3
    with raises_config_error('swap.guard.look', 3, 'looks'):
        GuardOptions.from_swap(dict(guard=dict(look=3)))
    for name, value in (('looks', 0), ('tolerance', 0), ('steps_back', -1), ('extend', -0.1)):
        with raises_config_error(f'swap.guard.{name}', value):
            GuardOptions.from_swap(dict(guard={name: value}))
