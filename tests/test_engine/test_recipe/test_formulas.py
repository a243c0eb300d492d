"""What the recipe chooses must be usable, whatever the data, and the same on any machine."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config

from knowswap_mm.engine.recipe import Facts, PhaseFacts, Recipe, formulas
from knowswap_mm.errors import ConfigError
from knowswap_mm.roles import RETAIN, ROLES
from knowswap_mm.schedule import PHASE_KINDS, SwapSchedule

FACTS = Facts(
    samples=dict(learn=300, forget=100, retain=900),
    classes=dict(learn=10, forget=5, retain=30),
    batch=160,
    chance=math.log(45),
    silence=math.log(45),
    width=384,
)


def phase_of(kind, **changes):
    split, _ = formulas.split(PhaseFacts(FACTS, (kind,), 0))
    return PhaseFacts(FACTS, (kind,), 0, **(dict(split=split) | changes))


def test_the_rate_falls_with_the_root_of_the_width():
    rates = [
        formulas.learning_rate(Facts(FACTS.samples, FACTS.classes, 160, width=width))[0]
        for width in (96, 384, 1536)
    ]
    assert rates == pytest.approx([1e-2, 5e-3, 2.5e-3])


@pytest.mark.parametrize(
    ('changes', 'word'), [(dict(width=0), 'adapters'), (dict(optimizer='SGD'), "'SGD'")]
)
def test_a_rate_that_the_recipe_does_not_know_is_refused(changes, word):
    facts = Facts(FACTS.samples, FACTS.classes, 160, **(dict(width=384) | changes))
    with pytest.raises(ConfigError, match=f'optim_wrapper.optimizer.lr.*{word}.*give a number'):
        formulas.learning_rate(facts)


def test_the_hinge_is_on_samples_where_the_host_has_them():
    assert formulas.hinge(FACTS)[0] == 'sample'
    value, why = formulas.hinge(Facts(FACTS.samples, FACTS.classes, 160, reads_samples=False))
    assert value == 'mean' and 'whole loss' in why


def test_a_phase_sees_its_own_role_so_often():
    assert formulas.iterations(phase_of('learn'))[0] == math.ceil(20 * 300 / 80)
    rare = phase_of('forget', split=dict(learn=0, forget=10, retain=150))
    assert formulas.iterations(rare)[0] == 100
    assert formulas.iterations(phase_of('joint'))[0] == math.ceil(20 * 300 / 53)
    value, why = formulas.iterations(phase_of('forget'))
    assert value == formulas.SHORTEST and 'would be 13' in why
    huge = Facts(dict(learn=10**6, forget=1, retain=1), FACTS.classes, 160)
    found = formulas.iterations(PhaseFacts(huge, ('learn',), 0, split=dict(learn=80, retain=80)))
    assert found[0] == formulas.LONGEST


def test_an_objective_without_a_bound_gets_none():
    facts = Facts(FACTS.samples, FACTS.classes, 160, bounded=False)
    assert formulas.bound(PhaseFacts(facts, ('forget',), 0))[0] == 'none'
    assert formulas.bound(phase_of('forget'))[0] == pytest.approx(2 * math.log(45))
    detector = Facts(FACTS.samples, FACTS.classes, 160, chance=2.2, silence=4.6)
    value, why = formulas.bound(PhaseFacts(detector, ('forget',), 0))
    assert value == 9.2 and 'does not report, 4.6' in why


def test_the_share_of_learned_classes_stays_within_limits():
    def share(learn, retain, slots=80):
        facts = Facts(FACTS.samples, dict(learn=learn, forget=1, retain=retain), 2 * slots)
        split = dict(forget=slots, retain=slots)
        return formulas.merged_share(PhaseFacts(facts, ('learn', 'forget'), 1, True, split))[0]

    assert [share(10, 30), share(1, 99), share(50, 1)] == [0.25, 0.2, 0.5]
    assert share(1, 99, slots=2) == 0.5 and share(1, 99, slots=1) is None


SIZES = st.integers(1, 5000)
kinds = st.lists(st.sampled_from(sorted(PHASE_KINDS)), min_size=1, max_size=4)


def chosen_by(facts, order):
    cfg = Config(dict(swap=dict(recipe='auto', order=order)))
    plan = Recipe(cfg).resolve(cfg, facts)
    return plan, cfg.swap


@given(
    kinds,
    st.fixed_dictionaries({role: SIZES for role in ROLES}),
    st.fixed_dictionaries({role: st.integers(1, 300) for role in ROLES}),
    st.sampled_from([(3, 1), (4, 1), (160, 1), (4, 2), (7, 3), (20, 8)]),
)
def test_whatever_is_chosen_passes_the_checks_and_depends_on_no_number_of_processes(
    order, samples, classes, batch
):
    size, processes = batch
    known = dict(samples=samples, classes=classes, batch=size * processes, chance=2.0, silence=2.0)
    plan, swap = chosen_by(Facts(**known, processes=processes), order)
    schedule = SwapSchedule.from_config(swap, samples, size, processes)
    assert [phase.kind for phase in schedule.phases] == order
    for phase in schedule.phases:
        assert formulas.SHORTEST <= phase.length <= formulas.LONGEST
        assert phase.split[RETAIN] > 0 and phase.batch_size == size * processes
    alone, same = chosen_by(Facts(**known), order)
    assert alone == plan and same == swap
    # What was chosen is given from then on, whatever the data.
    other, again = (
        Facts(dict.fromkeys(ROLES, 1), classes, size * processes),
        Config(dict(swap=swap)),
    )
    assert not Recipe(again).resolve(again, other).entries and again.swap == swap
    assert all(entry.why for entry in plan.entries)
