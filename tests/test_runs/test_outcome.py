"""The verdict follows its rules and nothing else."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowswap_mm.runs.outcome import Outcome
from knowswap_mm.runs.results import SwapResults

ORDER = {'yes': 0, 'in part': 1, 'no': 2}
ALL = 'It worked, as far as the answers tell.'
SOME = 'It worked in part.'
percent = st.floats(0, 100)


def outcome(before, after, kinds=('learn', 'forget'), finished=True, audits=None):
    results = SwapResults('m', 100.0)
    phases = [dict(name=f'phase{n + 1}_{kind}', kind=kind) for n, kind in enumerate(kinds)]
    if before is not None:
        results.add('start', 0, {f'{role}/m': v for role, v in before.items()})
    results.add(phases[-1]['name'], 7, {f'{role}/m': v for role, v in after.items()})
    run = dict(results=results, phases=phases, finished=finished, total=9, audits=audits or {})
    run |= dict(decisions=[])
    return Outcome.of(SimpleNamespace(**run))


BEFORE = dict(learn=0.0, forget=90.0, retain=80.0)


@pytest.mark.parametrize(
    ('after', 'words', 'headline'),
    [
        (dict(learn=64.0, forget=4.5, retain=76.0), ['yes'] * 3, ALL),
        (dict(learn=63.9, forget=4.5, retain=76.0), ['in part', 'yes', 'yes'], SOME),
        (dict(learn=64.0, forget=4.6, retain=75.9), ['yes', 'in part', 'in part'], SOME),
        (dict(learn=32.0, forget=45.0, retain=68.0), ['in part'] * 3, SOME),
        (dict(learn=31.9, forget=0.0, retain=90.0), ['no', 'yes', 'yes'], 'It did not work.'),
        (dict(learn=70.0, forget=45.1, retain=67.9), ['yes', 'no', 'no'], 'It did not work.'),
    ],
)  # fmt: skip
def test_each_limit(after, words, headline):
    found = outcome(BEFORE, after)
    assert [word for word, _ in found.roles.values()] == words
    assert found.headline == headline
    assert found.roles['learn'][1] == f'Learned: 0.0 → {after["learn"]:.1f}'


@given(st.fixed_dictionaries(dict(learn=percent, forget=percent, retain=percent)))
def test_the_whole_is_as_good_as_its_worst_part(after):
    found = outcome(BEFORE, after)
    assert ORDER[found.word] == max(ORDER[word] for word, _ in found.roles.values())


@pytest.mark.parametrize(
    ('kinds', 'roles'),
    [
        (['learn'], {'learn', 'retain'}),
        (['forget'], {'forget', 'retain'}),
        (['joint'], {'learn', 'forget', 'retain'}),
        (['expand', 'learn'], {'learn', 'retain'}),
    ],
)
def test_only_what_was_asked_for_is_judged(kinds, roles):
    assert set(outcome(BEFORE, dict(learn=1.0, forget=1.0, retain=1.0), kinds).roles) == roles


def test_nothing_is_judged_without_a_start_or_an_end():
    after = dict(learn=64.0, forget=4.5, retain=76.0)
    found = outcome(None, after)
    assert found.word == 'unknown'
    assert found.headline == 'Not judged: there is no evaluation before the swap.'
    found = outcome(BEFORE, after, finished=False)
    assert (found.word, found.roles) == ('unknown', {})
    assert found.headline == 'Not finished: evaluated last at iteration 7 of 9.'


@pytest.mark.parametrize(
    ('before', 'kinds', 'empty'),
    [
        (dict(retain=0.0), ('learn', 'forget'), 'retain'),
        (dict(forget=0.0), ('learn', 'forget'), 'forget'),
        (dict(retain=0.0, forget=0.0), ('joint',), 'forget and retain'),
        (dict(retain=0.0, forget=0.0), ('learn',), 'retain'),
    ],
)
def test_a_role_that_had_nothing_before_is_named(before, kinds, empty):
    """The evaluation is there: it must not be said that it is missing."""
    found = outcome(BEFORE | before, dict(learn=64.0, forget=0.0, retain=70.0), kinds)
    assert found.word == 'unknown'
    assert found.headline.startswith(f'Not judged: {empty} had 0.0 before the swap, so that ')


@pytest.mark.parametrize(
    ('verdict', 'kinds', 'word'),
    [
        ('recovered', ('learn', 'forget'), 'in part'),
        ('not recovered', ('learn', 'forget'), 'yes'),
        ('recovered', ('learn',), 'yes'),
    ],
)
def test_an_audit_has_the_last_word_on_forgetting(verdict, kinds, word):
    after = dict(learn=64.0, forget=4.5, retain=76.0)
    audits = dict(audit=dict(headline='x', findings=[dict(verdict=verdict)]))
    found = outcome(BEFORE, after, kinds, audits=audits)
    assert found.word == word and ('recovers' in found.headline) is (word == 'in part')
