"""When a phase is looked at, and how much of what is held out."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from knowswap_mm.engine.guard.plan import APART, COST, plan_looks
from knowswap_mm.schedule import SwapSchedule

HELD = dict(learn=20, forget=10, retain=64)


def phase_of(kind='forget', iters=100, batch=160, **settings):
    settings |= dict(bound=7.0) if kind in ('forget', 'joint') else {}
    phases = [dict(kind='learn', iters=10), dict(settings, kind=kind, iters=iters)]
    sizes = dict(learn=100, forget=100, retain=100)
    return SwapSchedule.from_config(dict(phases=phases), sizes, batch).phases[1]


def due(plan, phase):
    return [done for done in range(phase.end + 20) if plan.is_due(phase, done)]


def test_eight_looks_in_a_long_phase():
    phase = phase_of()
    plan = plan_looks(phase, HELD, 8)
    assert plan.ends == plan.inside == dict(forget=10, retain=64)
    assert due(plan, phase) == [23, 36, 49, 62, 75, 88, 101, 110]  # behind the first phase
    assert plan_looks(phase_of(merge_learned=True), HELD, 8).ends == HELD


def test_a_phase_that_grew_is_looked_at_at_its_new_end():
    phase = phase_of()
    plan = plan_looks(phase, HELD, 8)
    assert due(plan, replace(phase, length=130))[-3:] == [114, 127, 140]
    assert due(plan, replace(phase, length=20)) == [23, 30]


def test_short_phases_and_small_roles():
    assert plan_looks(phase_of(iters=12), HELD, 8).every == 6  # not nearer than five iterations
    assert plan_looks(phase_of(iters=3), HELD, 8).inside == {}
    plan = plan_looks(phase_of(iters=30, batch=80), HELD, 8)
    assert plan.ends == dict(forget=9, retain=62) and plan.inside == dict(forget=4, retain=27)
    assert plan.samples(phase_of(iters=30), 10) == plan.samples(phase_of(iters=30), 40) == plan.ends
    assert plan.samples(phase_of(iters=30), 20) == plan.inside
    assert plan_looks(phase_of(iters=3, batch=8), HELD, 8) is None  # two images would be too many
    assert plan_looks(phase_of(), dict(HELD, retain=0), 8) is None
    assert plan_looks(phase_of(), dict(HELD, forget=0), 8).ends == dict(retain=64)


def test_windows_of_accumulation():
    plan = plan_looks(phase_of(), HELD, 8, window=4)
    assert plan.every == 16


@given(
    st.integers(1, 400),
    st.integers(2, 200),
    st.integers(1, 20),
    st.fixed_dictionaries({role: st.integers(0, 64) for role in HELD}),
)
def test_the_cost_is_bounded(iters, batch, looks, held):
    phase = phase_of('joint', iters, 3 * batch)
    plan = plan_looks(phase, held, looks)
    if plan is None:
        return
    times = due(plan, phase)
    assert times[-1] == phase.end and len(times) <= looks
    assert all(b - a >= APART for a, b in zip(times[:-2], times[1:-1], strict=True))
    cost = sum(sum(plan.samples(phase, at).values()) for at in (phase.begin, *times))
    assert cost <= COST * iters * phase.batch_size
    for found in (plan.ends, plan.inside):
        assert all(4 <= n <= held[role] for role, n in found.items())
