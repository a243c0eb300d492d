import dataclasses
import io
import json
import math
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config, ConfigDict

from knowswap_mm.roles import ROLES
from knowswap_mm.schedule import PHASE_KINDS, SwapSchedule

SIZES = dict(learn=10, forget=6, retain=25)


def schedule_of(*phases, sizes=SIZES, batch_size=8, world_size=1):
    return SwapSchedule.from_config(dict(phases=list(phases)), sizes, batch_size, world_size)


phase_configs = st.builds(
    lambda kind, length, restart_lr, merge: dict(
        kind=kind, bound=5.0, restart_lr=restart_lr, merge_learned=merge, **length
    ),
    kind=st.sampled_from(sorted(PHASE_KINDS)),
    length=st.builds(
        lambda key, n: {key: n}, st.sampled_from(['iters', 'epochs']), st.integers(1, 9)
    ),
    restart_lr=st.booleans(),
    merge=st.booleans(),
)
schedules = st.builds(
    lambda phases, world_size: schedule_of(*phases, world_size=world_size),
    st.lists(phase_configs, min_size=1, max_size=5),
    st.integers(1, 3),
)


class TestPhaseAt:
    @given(schedules)
    def test_phases_cover_the_run_without_gap_or_overlap(self, schedule):
        assert schedule.phases[0].begin == 0
        assert schedule.total == sum(phase.length for phase in schedule.phases)
        seen = [schedule.phase_at(i).index for i in range(schedule.total)]
        expected = [phase.index for phase in schedule.phases for _ in range(phase.length)]
        assert seen == expected
        assert [phase.index for phase in schedule.phases] == list(range(len(schedule.phases)))

    @given(schedules, st.randoms(use_true_random=False))
    def test_answer_depends_on_nothing_but_the_iteration(self, schedule, rng: random.Random):
        before = schedule.to_dict()
        iterations = list(range(schedule.total)) * 2
        rng.shuffle(iterations)
        for i in iterations:
            phase = schedule.phase_at(i)
            assert phase.begin <= i < phase.end
        assert schedule.to_dict() == before

    @given(schedules, st.integers(0, 10**9))
    def test_outside_the_run(self, schedule, beyond):
        assert schedule.phase_at(schedule.total + beyond) is schedule.phases[-1]
        assert schedule.phase_at(-1 - beyond) is schedule.phases[0]

    def test_boundaries(self):
        schedule = schedule_of(dict(kind='learn', iters=3), dict(kind='forget', iters=2, bound=1))
        assert [schedule.phase_at(i).name for i in range(6)] == [
            'phase1_learn',
            'phase1_learn',
            'phase1_learn',
            'phase2_forget',
            'phase2_forget',
            'phase2_forget',
        ]

    def test_schedule_and_phase_cannot_be_changed(self):
        schedule = schedule_of(dict(kind='learn', iters=3))
        with pytest.raises(dataclasses.FrozenInstanceError):
            schedule.world_size = 2
        with pytest.raises(dataclasses.FrozenInstanceError):
            schedule.phases[0].length = 5


class TestFromConfig:
    def test_reads_a_config_file_and_ignores_the_other_swap_keys(self, tmp_path):
        path = tmp_path / 'swap.py'
        path.write_text(
            "swap = dict(classes=dict(old=['a']), order='learn-forget', phase_settings=dict(\n"
            '    learn=dict(epochs=2, split=dict(learn=2, retain=6)),\n'
            '    forget=dict(iters=5, bound=105)))\n'
        )
        schedule = SwapSchedule.from_config(Config.fromfile(path)['swap'], SIZES, 8)
        assert [(p.kind, p.begin, p.length) for p in schedule.phases] == [
            ('learn', 0, 10),
            ('forget', 10, 5),
        ]
        assert schedule.phases[1].merge_learned
        assert schedule.batch_size == 8

    def test_cfg_options_reach_a_phase(self):
        config = Config(dict(swap=dict(phases=[dict(kind='learn', iters=3)] * 2)))
        config.merge_from_dict({'swap.phases.1.iters': 7})
        schedule = SwapSchedule.from_config(config['swap'], SIZES, 8)
        assert [phase.length for phase in schedule.phases] == [3, 7]

    def test_phases_as_a_dict_of_positions(self):
        numbered = {str(i): dict(kind='learn', iters=i + 1) for i in reversed(range(11))}
        schedule = SwapSchedule.from_config(dict(phases=numbered), SIZES, 8)
        assert [phase.length for phase in schedule.phases] == list(range(1, 12))

    def test_dict_of_phases_by_name(self, raises_config_error):
        phases = dict(first=dict(kind='learn', iters=1))
        with raises_config_error('swap.phases.first', phases['first'], 'no position', 'the first'):
            SwapSchedule.from_config(dict(phases=phases), SIZES, 8)

    @pytest.mark.parametrize('swap', [{}, dict(phases=[dict(kind='learn')], order='learn')])
    def test_exactly_one_of_phases_and_order(self, swap, raises_config_error):
        with raises_config_error('swap', sorted(swap), 'exactly one', 'learn-forget'):
            SwapSchedule.from_config(swap, SIZES, 8)

    @pytest.mark.parametrize('phases', [[], (), 'learn', 3])
    def test_no_phase(self, phases, raises_config_error):
        with raises_config_error('swap.phases', phases, 'no phase', 'at least one'):
            SwapSchedule.from_config(dict(phases=phases), SIZES, 8)

    def test_empty_order(self, raises_config_error):
        with raises_config_error('swap.phases', [], 'no phase', 'at least one'):
            SwapSchedule.from_config(dict(order=[], phase_settings={}), SIZES, 8)

    def test_error_in_a_later_phase_names_its_position(self, raises_config_error):
        phases = [dict(kind='learn', iters=1), dict(kind='learn', iters=0)]
        with raises_config_error('swap.phases.1.iters', 0):
            schedule_of(*phases)

    def test_roles_without_data_have_size_zero(self):
        schedule = schedule_of(dict(kind='learn', iters=1), sizes=dict(learn=2, retain=3))
        assert schedule.role_sizes == dict(learn=2, forget=0, retain=3)
        assert list(schedule.role_sizes) == list(ROLES)

    def test_batch_size_is_the_same_in_every_phase(self, raises_config_error):
        phases = [
            dict(kind='learn', iters=1, split=dict(learn=2, retain=6)),
            dict(kind='forget', iters=1, bound=1, split=dict(forget=2, retain=5)),
        ]
        with raises_config_error('swap.phases.1.split', phases[1]['split'], 'every phase'):
            schedule_of(*phases)

    @pytest.mark.parametrize(('world_size', 'length'), [(1, 7), (2, 4), (3, 3), (7, 1), (9, 1)])
    def test_epochs_shrink_with_the_world(self, world_size, length):
        schedule = schedule_of(dict(kind='learn', epochs=1), world_size=world_size)
        assert schedule.total == length


class TestLrSpan:
    def spans(self, *restarts):
        phases = [dict(kind='learn', iters=10 + i, restart_lr=r) for i, r in enumerate(restarts)]
        schedule = schedule_of(*phases)
        spans = [schedule.lr_span(phase.begin) for phase in schedule.phases]
        assert all(span.begin == span.phase.begin for span in spans)
        return [(span.phase.index, span.length) for span in spans]

    def test_each_phase_its_own(self):
        assert self.spans(True, True, True) == [(0, 10), (1, 11), (2, 12)]

    def test_one_curve_over_all(self):
        assert self.spans(True, False, False) == [(0, 33)] * 3

    def test_first_phase_cannot_go_on_from_anything(self):
        assert self.spans(False, True) == [(0, 10), (1, 11)]

    def test_mixed(self):
        assert self.spans(True, False, True, False) == [(0, 21), (0, 21), (2, 25), (2, 25)]

    @given(schedules)
    def test_spans_partition_the_run(self, schedule):
        spans = {}
        for phase in schedule.phases:
            first, begin, length, factor = schedule.lr_span(phase.begin)
            assert schedule.lr_span(phase.end - 1) == (first, begin, length, factor)
            assert begin == first.begin <= phase.begin < phase.end <= first.begin + length
            assert first.index == 0 or first.restart_lr
            spans[first.begin] = length
        position = 0
        for begin, length in sorted(spans.items()):
            assert begin == position
            position += length
        assert position == schedule.total


def types_in(value):
    yield type(value)
    if isinstance(value, dict):
        for item in value.values():
            yield from types_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from types_in(item)


class TestToDict:
    @given(schedules)
    def test_is_plain_data_and_survives_json(self, schedule):
        plain = schedule.to_dict()
        assert set(types_in(plain)) <= {dict, list, str, int, float, bool, type(None)}
        assert json.loads(json.dumps(plain, allow_nan=False)) == plain

    def test_values(self):
        schedule = schedule_of(
            dict(kind='learn', epochs=1), dict(kind='forget', iters=2, bound=105), world_size=2
        )
        plain = schedule.to_dict()
        assert plain['world_size'] == 2
        assert plain['role_sizes'] == SIZES
        assert [p['kind'] for p in plain['phases']] == ['learn', 'forget']
        assert [(p['begin'], p['length'], p['epoch_length']) for p in plain['phases']] == [
            (0, 4, 4),
            (4, 2, None),
        ]
        assert [p['bound'] for p in plain['phases']] == [None, 105.0]

    def test_of_a_config_with_nested_schedulers_is_safe_to_load(self):
        scheduler = dict(type='MultiStepLR', milestones=(1, 2), extra=dict(deep=[1]))
        config = ConfigDict(phases=[dict(kind='learn', iters=3, param_scheduler=[scheduler])])
        plain = SwapSchedule.from_config(config, SIZES, 8).to_dict()
        assert set(types_in(plain)) <= {dict, list, str, int, float, bool, type(None)}
        file = io.BytesIO()
        torch.save(plain, file)
        file.seek(0)
        assert torch.load(file, weights_only=True) == plain

    def test_changing_it_leaves_the_schedule_alone(self):
        schedule = schedule_of(dict(kind='learn', iters=3))
        plain = schedule.to_dict()
        plain['role_sizes']['learn'] = 0
        plain['phases'][0]['split']['learn'] = 0
        assert schedule.role_sizes == SIZES
        assert schedule.phases[0].split['learn'] == 4

    @given(schedules, schedules)
    def test_equal_exactly_when_the_schedules_are(self, one, other):
        assert (one.to_dict() == other.to_dict()) == (one == other)


def test_describe_has_one_line_a_phase():
    schedule = schedule_of(
        dict(kind='learn', iters=3, weights=dict(retain=0.2, sparsity=0.005)),
        dict(
            kind='forget',
            iters=2,
            bound=105,
            merge_learned=True,
            split=dict(forget=3, retain=5),
            weights=dict(forget=0.2),
        ),
    )
    first, second = schedule.describe().split('\n')
    assert first == (
        'phase1_learn: iterations 0 to 2 (3), batch 4 learn + 4 retain, '
        'weights learn 1, retain 0.2, sparsity 0.005'
    )
    assert second == (
        'phase2_forget: iterations 3 to 4 (2), batch 3 forget + 5 retain, '
        'weights retain 1, forget 0.2, bound 105, retain includes learned data'
    )


def test_bound_of_a_phase_without_forget_term_is_infinite():
    assert schedule_of(dict(kind='learn', iters=1)).phases[0].bound == math.inf
