"""H-mean: three roles where the run is about three, and what old files and scripts still find."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowswap_mm.runs.results import SwapResults, h_mean
from tests.helpers.made_runs import made_run

percent = st.just(0.0) | st.floats(1e-6, 100)
END = dict(learn=60.0, forget=30.0, retain=72.0)


def mean(*parts):
    return len(parts) / sum(1 / part for part in parts)


@pytest.mark.parametrize(
    ('kinds', 'title', 'parts'),
    [
        (['learn', 'forget'], 'H-mean', [60, 60, 72]),
        (['joint'], 'H-mean', [60, 60, 72]),
        (['expand', 'learn'], 'H-mean (learn, retain)', [60, 72]),
        (['forget'], 'H-mean (forget, retain)', [60, 72]),
    ],
)
@pytest.mark.parametrize('scale', [100.0, 1.0])
def test_the_roles_that_the_run_is_about(kinds, title, parts, scale):
    results = made_run(*[END] * len(kinds), kinds=kinds, scale=scale).results
    assert results.h_mean_title == title
    last = list(results.states)[-1]
    assert results.percents(last)[3] == pytest.approx(mean(*parts))
    stored = results.states[last]['metrics']
    assert stored['swap/role_h_mean'] == pytest.approx(mean(*parts) * scale / 100)
    assert results.percents('start')[3] is None
    results.kinds = ()  # as of a file that tells no phases: the names of the states do
    assert results.h_mean_title == title


def test_the_number_of_two_roles_keeps_its_old_name():
    metrics = made_run(END, END).results.states['phase2_forget']['metrics']
    assert metrics['swap/h_mean'] == metrics['swap/forget_retain_h_mean']
    assert metrics['swap/h_mean'] == pytest.approx(mean(60, 72))
    assert metrics['swap/forget_before'] == 90.0


def test_an_old_file_shows_the_same_table(tmp_path):
    made_run(END, END).results.write(tmp_path / 'new.json')
    old = json.loads((tmp_path / 'new.json').read_text())
    for state in old['states'].values():
        for key in ('swap/role_h_mean', 'swap/forget_retain_h_mean'):
            state['metrics'].pop(key, None)
    (tmp_path / 'old.json').write_text(json.dumps(old))
    tables = [SwapResults.read(tmp_path / f'{name}.json').table() for name in ('new', 'old')]
    assert tables[0] == tables[1] and tables[0].splitlines()[-1].split()[-2] == '63.5'


@pytest.mark.parametrize('missing', ['learn', 'forget'])
def test_no_mean_without_a_role_that_was_asked_for(missing):
    state = {role: value for role, value in END.items() if role != missing}
    results = made_run(state, state).results
    assert results.percents('phase2_forget')[3] is None
    assert 'swap/role_h_mean' not in results.states['phase2_forget']['metrics']


def test_no_mean_without_a_start_or_a_number():
    assert made_run(END, END, start=None).results.percents('phase2_forget')[3] is None
    nan = dict(END, learn=float('nan'))
    assert made_run(nan, nan).results.percents('phase2_forget')[3] is None


def test_where_nothing_is_retained_two_roles_count():
    results = made_run(*[dict(learn=60.0, forget=30.0)] * 2, start=dict(forget=90.0)).results
    assert results.h_mean_title == 'H-mean (learn, forget)'
    assert results.percents('phase2_forget')[3] == pytest.approx(60)


@given(st.lists(percent, min_size=1, max_size=3))
def test_a_harmonic_mean_lies_between_its_parts(parts):
    found = h_mean(parts)
    assert 0 <= found <= max(parts) * (1 + 1e-9)
    assert found == 0 or found >= min(parts) * (1 - 1e-9)
    assert (found == 0) == (min(parts) == 0)


def test_phases_that_a_decision_dropped_were_asked_for(tmp_path):
    schedule = dict(phases=[dict(kind='learn')], planned=[dict(kind='learn'), dict(kind='forget')])
    made_run(END, kinds=['learn']).results.write(tmp_path / 'r.json', schedule=schedule)
    assert SwapResults.read(tmp_path / 'r.json').asked == ('learn', 'forget', 'retain')


@pytest.mark.parametrize('schedule', [None, 3, {}, dict(phases=3), dict(phases=[3, dict(kind=[])])])
def test_a_damaged_schedule_tells_no_roles(schedule, tmp_path):
    made_run(END, END).results.write(tmp_path / 'r.json', schedule=schedule)
    assert SwapResults.read(tmp_path / 'r.json').h_mean_title == 'H-mean'
