"""What a decision makes of a schedule, and what it leaves alone."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowswap_mm.datasets.sampler import SwapSampler
from knowswap_mm.errors import CheckpointError
from knowswap_mm.schedule import DECISION_KINDS, Decision, ScheduleChange, SwapSchedule
from knowswap_mm.schedule.decisions import replayed

SIZES = dict(learn=10, forget=6, retain=25)


def schedule_of(*phases, world_size=1):
    return SwapSchedule.from_config(dict(phases=list(phases)), SIZES, 8, world_size)


def two_phases(**settings):
    forget = dict(kind='forget', iters=50, bound=5.0, **settings)
    return schedule_of(dict(kind='learn', iters=100, lr_factor=0.5), forget)


def spans(schedule):
    """Begin, length and factor of each learning rate schedule."""
    found = {schedule.lr_span(i)[1:] for i in range(schedule.total)}
    return sorted(found)


def lengths(schedule):
    return [(phase.begin, phase.length) for phase in schedule.phases]


class TestKinds:
    def test_end(self):
        schedule = two_phases().decide(Decision(30, 0, 'end', to=20))
        assert lengths(schedule) == [(0, 30), (30, 50)] and schedule.total == 80
        assert spans(schedule) == [(0, 30, 0.5), (30, 50, 1.0)]

    def test_end_where_the_phase_ends_anyway(self):
        schedule = two_phases().decide(Decision(100, 0, 'end', to=60))
        assert lengths(schedule) == lengths(two_phases())
        assert len(schedule.phases[0].segments) == 1

    @pytest.mark.parametrize('at', [30, 100])
    def test_extend(self, at):
        schedule = two_phases().decide(Decision(at, 0, 'extend', iters=7, lr_factor=0.5))
        assert lengths(schedule) == [(0, 107), (107, 50)]
        assert spans(schedule) == [(0, 100, 0.5), (100, 7, 0.25), (107, 50, 1.0)]

    @pytest.mark.parametrize(('at', 'rest'), [(30, 90), (100, 90)])
    def test_back(self, at, rest):
        schedule = two_phases().decide(Decision(at, 0, 'back', to=10, lr_factor=0.5))
        assert lengths(schedule) == [(0, at + rest), (at + rest, 50)]
        assert spans(schedule) == [(0, at, 0.5), (at, rest, 0.25), (at + rest, 50, 1.0)]

    def test_stop(self):
        schedule = two_phases().decide(Decision(30, 0, 'stop', to=0))
        assert lengths(schedule) == [(0, 30)] and schedule.total == 30
        schedule = two_phases().decide(Decision(120, 1, 'stop'))
        assert lengths(schedule) == [(0, 100), (100, 20)] and schedule.total == 120

    def test_back_again_and_again(self):
        schedule = two_phases().decide(Decision(20, 0, 'back', to=10, lr_factor=0.5))
        # 25 iterations, of which ten were undone: 85 are left after the state that they made.
        assert schedule.decide(Decision(30, 0, 'back', to=25)).phases[0].end == 30 + 85
        schedule = schedule.decide(Decision(30, 0, 'back', to=5, lr_factor=0.5))
        assert schedule.phases[0].end == 30 + 95
        schedule = schedule.decide(Decision(40, 0, 'back', to=2))
        assert schedule.phases[0].end == 40 + 98
        factors = [0.5, 0.25, 0.125, 0.125]
        assert [each.lr_factor for each in schedule.phases[0].segments] == factors
        schedule = schedule.decide(Decision(50, 0, 'extend', iters=7))
        assert schedule.decide(Decision(60, 0, 'back', to=2)).phases[0].end == 60 + 105

    def test_a_phase_that_goes_on_with_the_rate_of_the_one_before(self):
        planned = two_phases(restart_lr=False, lr_factor=3.0)
        assert spans(planned) == [(0, 150, 0.5)]
        schedule = planned.decide(Decision(100, 0, 'extend', iters=10, lr_factor=0.1))
        assert spans(schedule) == [(0, 100, 0.5), (100, 60, 0.05)]
        schedule = schedule.decide(Decision(120, 1, 'back', to=115, lr_factor=0.5))
        assert spans(schedule) == [(0, 100, 0.5), (100, 20, 0.05), (120, 45, 0.025)]
        assert all(schedule.lr_span(i).phase.index == 0 for i in range(schedule.total))


class TestRefused:
    @pytest.mark.parametrize(
        ('given', 'key', 'word'),
        [
            (dict(kind='pause'), 'kind', 'unknown kind of decision'),
            (dict(at=0), 'at', 'not an integer'),
            (dict(at=True), 'at', 'not an integer'),
            (dict(phase=-1), 'phase', 'not an integer'),
            (dict(kind='back'), 'to', 'not an integer'),
            (dict(kind='extend', to=3, iters=1), 'to', 'means nothing'),
            (dict(kind='extend', iters=0), 'iters', 'not an integer'),
            (dict(kind='end', iters=3), 'iters', 'means nothing'),
            (dict(kind='stop', lr_factor=0.5), 'lr_factor', 'means nothing'),
            (dict(kind='back', to=3, lr_factor=0.0), 'lr_factor', 'not a finite number'),
            (dict(reason=3), 'reason', 'no text'),
        ],
    )
    def test_value(self, given, key, word, raises_config_error):
        values = dict(at=20, phase=0, kind='end') | given
        with raises_config_error(f'decision.{key}', values.get(key), word):
            Decision(**values)

    @pytest.mark.parametrize(
        ('decision', 'key'),
        [
            (Decision(20, 0, 'end'), 'at'),  # the same iteration again
            (Decision(101, 0, 'end'), 'at'),
            (Decision(100, 1, 'end'), 'at'),
            (Decision(151, 1, 'end'), 'at'),
            (Decision(30, 2, 'end'), 'phase'),
            (Decision(30, 0, 'back', to=30), 'to'),
            (Decision(120, 1, 'back', to=99), 'to'),
        ],
    )
    def test_place(self, decision, key, raises_config_error):
        schedule = two_phases().decide(Decision(20, 0, 'back', to=20 - 1))
        schedule = schedule if decision.at == 20 else schedule.base
        with raises_config_error(f'decision.{key}', getattr(decision, key)):
            schedule.decide(decision)

    def test_nothing_comes_after_a_stop(self, raises_config_error):
        schedule = two_phases().decide(Decision(30, 0, 'stop'))
        for at, phase in ((30, 0), (31, 0)):
            with raises_config_error('decision.at', at):
                schedule.decide(Decision(at, phase, 'end'))

    @pytest.mark.parametrize(
        'data', [3, [3], {}, dict(a=1), [dict(at=3)], [dict(at=3, phase=0, kind='end', x=1)]]
    )
    def test_data(self, data):
        with pytest.raises(ValueError, match='Fix: '):
            replayed(data)


phase_configs = st.builds(
    lambda kind, length, restart_lr, merge: dict(
        kind=kind, iters=length, bound=5.0, restart_lr=restart_lr, merge_learned=merge
    ),
    st.sampled_from(['learn', 'forget', 'joint']),
    st.integers(1, 12),
    st.booleans(),
    st.booleans(),
)
planned_schedules = st.builds(
    lambda phases, world_size: schedule_of(*phases, world_size=world_size),
    st.lists(phase_configs, min_size=1, max_size=4),
    st.integers(1, 2),
)


@st.composite
def runs(draw):
    """A schedule and decisions that fall in it, in order."""
    schedule = planned = draw(planned_schedules)
    for _ in range(draw(st.integers(1, 5))):
        done = schedule.decisions[-1].at if schedule.decisions else 0
        if done >= schedule.total:
            break
        at = draw(st.integers(done + 1, schedule.total))
        phase, kind = schedule.phase_at(at - 1), draw(st.sampled_from(DECISION_KINDS))
        given = dict(at=at, phase=phase.index, kind=kind)
        if kind == 'back':
            given['to'] = draw(st.integers(phase.begin, at - 1))
        if kind == 'extend':
            given['iters'] = draw(st.integers(1, 9))
        if kind in ('back', 'extend'):
            given['lr_factor'] = draw(st.sampled_from([0.25, 0.5, 1.0]))
        schedule = schedule.decide(Decision(**given))
    return planned, schedule


class TestProperties:
    @given(planned_schedules)
    def test_without_decisions_nothing_is_different(self, schedule):
        assert schedule.base is schedule and schedule.decisions == ()
        plain = schedule.to_dict()
        assert set(plain) == {'phases', 'role_sizes', 'world_size', 'total_batch'}
        assert not any('segment' in key for phase in plain['phases'] for key in phase)
        for phase in schedule.phases:
            (only,) = phase.segments
            assert (only.begin, only.end) == (phase.begin, phase.end)
        assert len(schedule.describe().split('\n')) == len(schedule.phases)

    @given(runs())
    def test_phases_segments_and_rates_have_no_gaps(self, run):
        _, schedule = run
        position = 0
        for phase in schedule.phases:
            assert phase.begin == position and phase.length > 0
            for segment in phase.segments:
                assert segment.begin == position and segment.length > 0
                position = segment.end
                assert segment == phase.segment_at(segment.begin) == phase.segment_at(position - 1)
            assert position == phase.end
        assert position == schedule.total
        seen = [schedule.phase_at(i).index for i in range(schedule.total)]
        assert seen == [phase.index for phase in schedule.phases for _ in range(phase.length)]
        for (begin, length, _), (following, *_) in zip(
            spans(schedule), spans(schedule)[1:] + [(schedule.total,)], strict=True
        ):
            assert begin + length == following

    @given(runs())
    def test_each_decision_does_to_the_total_what_it_says(self, run):
        before, schedule = run
        for decision in schedule.decisions:
            after, phase = before.decide(decision), before.phases[decision.phase]
            grown = after.total - before.total
            if decision.kind == 'end':
                assert grown == decision.at - phase.end
            elif decision.kind == 'extend':
                assert grown == decision.iters
            elif decision.kind == 'stop':
                assert after.total == decision.at
            elif all(segment.begin <= decision.to for segment in phase.segments):
                assert grown == decision.at - decision.to  # so many come once more
            before = after

    @given(runs())
    def test_replayed_from_dicts_it_is_the_same(self, run):
        planned, schedule = run
        data = json.loads(json.dumps([each.to_dict() for each in schedule.decisions]))
        again = planned
        for decision in replayed(data):
            again = again.decide(decision)
        assert again == schedule and again.to_dict() == schedule.to_dict()
        assert again.base == planned and again.describe() == schedule.describe()
        assert json.loads(json.dumps(schedule.to_dict(), allow_nan=False)) == schedule.to_dict()
        assert not ScheduleChange('x.pth', planned.to_dict(), schedule).check()

    @given(runs())
    def test_what_is_drawn_and_learned_before_a_decision_stays(self, run):
        before, schedule = run
        for decision in schedule.decisions:
            after = before.decide(decision)
            old, new = (SwapSampler(schedule=each, rank=0) for each in (before, after))
            for i in range(decision.at):
                assert old.batch(i) == new.batch(i)
                assert before.lr_span(i)[1::2] == after.lr_span(i)[1::2]
            assert after.as_of(decision.at - 1) == before and after.as_of(decision.at) == after
            before = after
        # Later draws go on where the earlier ones ended: none comes twice, none is left out.
        sampler = SwapSampler(schedule=schedule, rank=0, world_size=1)
        pools = {}
        for i in range(schedule.total):
            phase = schedule.phase_at(i)
            for address in sampler.batch(i):
                assert address.phase == phase.index
                merged = address.role == 'retain' and phase.merge_learned
                pools.setdefault((address.role, merged), []).append(address.draw)
        for draws in pools.values():
            assert draws == list(range(len(draws)))

    @given(runs(), planned_schedules)
    def test_another_plan_is_refused(self, run, other):
        planned, schedule = run
        if planned.to_dict()['phases'] != other.to_dict()['phases']:
            with pytest.raises((CheckpointError, ValueError)):
                ScheduleChange('x.pth', other.to_dict(), schedule).check()


def test_a_checkpoint_of_an_earlier_version_has_no_decisions():
    assert replayed(None) == () == replayed([])


def test_what_reports_read():
    schedule = two_phases().decide(Decision(30, 0, 'back', to=10, lr_factor=0.5, reason='retain'))
    schedule = schedule.decide(Decision(40, 0, 'stop'))
    plain = schedule.to_dict()
    assert plain['decisions'][0] == dict(
        at=30, phase=0, kind='back', to=10, iters=0, lr_factor=0.5, reason='retain'
    )
    assert [(each['kind'], each['length']) for each in plain['planned']] == [
        ('learn', 100), ('forget', 50),
    ]  # fmt: skip
    assert plain['phases'][0]['segments'][1] == dict(begin=30, length=10, lr_factor=0.25)
    assert 'learning rate anew from iteration 30 (10)' in schedule.describe()


@pytest.mark.parametrize(
    ('decision', 'text'),
    [
        (
            Decision(9, 0, 'end', to=4, reason='x'),
            'ends here, with the state after iteration 4 (x)',
        ),
        (Decision(9, 0, 'extend', iters=3), 'learn goes on for 3 more iterations'),
        (Decision(9, 0, 'back', to=0, lr_factor=0.5), 'back to iteration 0.*0.5 times the rate'),
        (Decision(9, 0, 'stop'), 'After iteration 9: the run stops here, in learn'),
    ],
)
def test_words(decision, text):
    assert re.search(re.escape(text) if '(' in text else text, decision.describe('learn'))
