import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowswap_mm.schedule import ORDERS, PHASE_KINDS, SwapSchedule, phases_of_order

SETTINGS = {
    'learn': dict(epochs=2),
    'forget': dict(iters=3, bound=10.0),
    'joint': dict(iters=4, bound=10.0),
    'expand': dict(iters=5),
}
SIZES = dict(learn=10, forget=6, retain=25)


@pytest.mark.parametrize('name', sorted(ORDERS))
def test_a_named_order_is_its_list_of_kinds(name):
    named, listed = phases_of_order(name, SETTINGS), phases_of_order(list(ORDERS[name]), SETTINGS)
    assert named == listed == phases_of_order(ORDERS[name], SETTINGS)
    assert '-'.join(phase['kind'] for phase in named) == name


@pytest.mark.parametrize('name', sorted(ORDERS))
def test_a_named_order_makes_the_schedule_of_spelled_out_phases(name):
    phases = []
    for position, kind in enumerate(ORDERS[name]):
        merge = kind == 'forget' and 'learn' in ORDERS[name][:position]
        phases.append(dict(kind=kind, merge_learned=merge, **SETTINGS[kind]))
    ordered = SwapSchedule.from_config(dict(order=name, phase_settings=SETTINGS), SIZES, 8)
    assert ordered == SwapSchedule.from_config(dict(phases=phases), SIZES, 8)


def test_the_four_orders_of_the_paper_are_there():
    assert {'learn-forget', 'forget-learn', 'learn-forget-learn', 'forget-learn-forget'} <= set(
        ORDERS
    )


@given(st.lists(st.sampled_from(sorted(PHASE_KINDS)), min_size=1, max_size=6))
def test_any_list_works_and_only_a_forget_after_a_learn_merges(kinds):
    phases = phases_of_order(kinds, SETTINGS)
    assert phases == phases_of_order('-'.join(kinds), SETTINGS)
    learned = itertools.accumulate((k in ('learn', 'joint') for k in kinds), max, initial=False)
    for phase, kind, learned_before in zip(phases, kinds, learned, strict=False):
        assert phase == dict(
            SETTINGS[kind], kind=kind, merge_learned=kind == 'forget' and learned_before
        )


def test_merging_in_forget_learn_forget():
    phases = phases_of_order('forget-learn-forget', SETTINGS)
    assert [phase['merge_learned'] for phase in phases] == [False, False, True]


def test_settings_override_merging():
    settings = SETTINGS | {'forget': dict(SETTINGS['forget'], merge_learned=False)}
    assert not phases_of_order('learn-forget', settings)[1]['merge_learned']
    settings = SETTINGS | {'learn': dict(SETTINGS['learn'], merge_learned=True)}
    assert phases_of_order('learn', settings)[0]['merge_learned'] is True


def test_settings_are_not_changed_and_may_name_their_kind():
    settings = dict(learn=dict(kind='learn', iters=1))
    assert (
        phases_of_order('learn-learn', settings)
        == [dict(kind='learn', iters=1, merge_learned=False)] * 2
    )
    assert settings == dict(learn=dict(kind='learn', iters=1))


@pytest.mark.parametrize('order', ['learn-unlearn', ['learn', 'unlearn'], 'learn-', ''])
def test_unknown_kind(order, raises_config_error):
    with raises_config_error('swap.order', order, 'no kind of phase', 'learn-forget'):
        phases_of_order(order, SETTINGS)


@pytest.mark.parametrize('order', [7, dict(learn=1)])
def test_order_of_the_wrong_type(order, raises_config_error):
    with raises_config_error('swap.order', order, 'neither a name nor a list', 'learn-forget'):
        phases_of_order(order, SETTINGS)


def test_kind_without_settings(raises_config_error):
    with raises_config_error(
        'swap.phase_settings', ['learn'], "'forget' phase", 'swap.phase_settings.forget'
    ):
        phases_of_order('learn-forget', dict(learn=dict(iters=1)))


@pytest.mark.parametrize('settings', [None, 5, ['learn']])
def test_settings_that_are_no_dict(settings, raises_config_error):
    with raises_config_error('swap.phase_settings', settings, 'not a dict', 'dict(learn='):
        phases_of_order('learn', settings)
    with raises_config_error('swap.phase_settings.learn', settings, 'not a dict', 'epochs'):
        phases_of_order('learn', dict(learn=settings))


def test_one_phase_of_an_order_can_be_changed_by_its_position():
    settings = dict(
        SETTINGS, forget=dict(iters=3, bound=10.0, weights=dict(forget=0.2, retain=1.0))
    )
    swap = dict(order='forget-learn-forget', phase_settings=settings)
    plain = SwapSchedule.from_config(swap, SIZES, 8)
    swap['phases'] = {'2': dict(bound=20, weights=dict(forget=0.5))}
    first, second, third = SwapSchedule.from_config(swap, SIZES, 8).phases
    assert (first, second) == plain.phases[:2]
    assert third.bound == 20 and third.weights['forget'] == 0.5 and third.weights['retain'] == 1
    assert third.length == plain.phases[2].length and third.merge_learned
    assert settings['forget']['bound'] == 10


@pytest.mark.parametrize(
    ('position', 'change', 'words'),
    [('2', dict(bound=5), 'the order has 2 phases'), ('1', 5, 'not a dict')],
)
def test_bad_changes_of_a_phase(position, change, words, raises_config_error):
    swap = dict(order='learn-forget', phase_settings=SETTINGS, phases={position: change})
    with raises_config_error(f'swap.phases.{position}', change, words):
        SwapSchedule.from_config(swap, SIZES, 8)


def test_an_order_beside_a_list_of_phases_is_refused(raises_config_error):
    swap = dict(order='learn', phase_settings=SETTINGS, phases=[dict(kind='learn', iters=2)])
    with raises_config_error('swap', ['order', 'phase_settings', 'phases'], 'exactly one'):
        SwapSchedule.from_config(swap, SIZES, 8)


def test_settings_that_would_do_nothing_are_refused(raises_config_error):
    phases = [dict(kind='learn', iters=2, weights=dict(learn=1.0, retain=1.0))]
    for nothing in ({}, None):
        swap = dict(phases=phases, phase_settings=nothing)
        assert SwapSchedule.from_config(swap, SIZES, 8).total == 2
    settings = dict(learn=dict(iters=5))
    with raises_config_error('swap.phase_settings', settings, 'would do nothing', 'swap.phases.0'):
        SwapSchedule.from_config(dict(phases=phases, phase_settings=settings), SIZES, 8)
