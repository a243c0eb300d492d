import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowswap_mm.schedule import PHASE_KINDS
from knowswap_mm.schedule.parser import PhaseParser

SIZES = dict(learn=10, forget=6, retain=25)


def parse(config, sizes=SIZES, batch_size=8, world_size=1):
    return PhaseParser(dict(sizes), batch_size, world_size).parse(3, 100, config)


def test_defaults_of_a_phase():
    phase = parse(dict(kind='learn', iters=7))
    assert (phase.index, phase.kind, phase.begin, phase.length, phase.end) == (
        3,
        'learn',
        100,
        7,
        107,
    )
    assert phase.epoch_length is None
    assert phase.split == dict(learn=4, forget=0, retain=4)
    assert phase.weights == dict(learn=1.0, retain=1.0, forget=0.0, sparsity=0.0)
    assert phase.bound == math.inf
    assert phase.merge_learned is False
    assert phase.merged_share is None
    assert phase.restart_lr is True
    assert phase.restart_optimizer is False
    assert phase.lr_factor == 1.0
    assert phase.param_scheduler is None
    assert phase.name == 'phase4_learn'
    assert phase.roles == ('learn', 'retain')
    assert phase.batch_size == 8


def test_every_setting_is_taken_over():
    config = dict(
        kind='forget',
        iters=2,
        split=dict(forget=3, retain=5),
        weights=dict(retain=1, forget=0.2, sparsity=0.005, learn=9),
        bound=105,
        merge_learned=True,
        merged_share=0.25,
        restart_lr=False,
        restart_optimizer=True,
        lr_factor=0.5,
        param_scheduler=[dict(type='ConstantLR', factor=1.0)],
    )
    phase = parse(config)
    assert phase.split == dict(learn=0, forget=3, retain=5)
    assert phase.weights == dict(learn=0.0, retain=1.0, forget=0.2, sparsity=0.005)
    assert (phase.bound, phase.merged_share, phase.lr_factor) == (105.0, 0.25, 0.5)
    assert (phase.merge_learned, phase.restart_lr, phase.restart_optimizer) == (True, False, True)
    assert phase.param_scheduler == (dict(type='ConstantLR', factor=1.0),)


def test_config_is_not_changed():
    config = dict(kind='learn', iters=1, split=dict(learn=8), weights=dict(learn=2))
    parse(config)
    assert config == dict(kind='learn', iters=1, split=dict(learn=8), weights=dict(learn=2))


def test_one_param_scheduler_becomes_a_tuple_of_one():
    scheduler = dict(type='CosineAnnealingLR', T_max=5)
    assert parse(dict(kind='learn', iters=1, param_scheduler=scheduler)).param_scheduler == (
        scheduler,
    )


@pytest.mark.parametrize(
    ('kind', 'split'),
    [
        ('learn', dict(learn=3, forget=0, retain=4)),
        ('expand', dict(learn=3, forget=0, retain=4)),
        ('forget', dict(learn=0, forget=3, retain=4)),
        ('joint', dict(learn=2, forget=2, retain=3)),
    ],
)
def test_default_split_is_even_and_the_rest_goes_to_retain(kind, split):
    assert parse(dict(kind=kind, iters=1, bound=1), batch_size=7).split == split


@given(st.sampled_from(sorted(PHASE_KINDS)), st.integers(3, 500))
def test_default_split_always_sums_to_the_batch(kind, batch_size):
    phase = parse(dict(kind=kind, iters=1, bound=1), batch_size=batch_size)
    assert phase.batch_size == batch_size
    assert set(phase.roles) == set(PHASE_KINDS[kind])
    assert max(phase.split.values()) - min(phase.split[r] for r in phase.roles) < 3


def test_a_phase_may_do_without_retain():
    phase = parse(dict(kind='learn', iters=1, split=dict(learn=8)), dict(learn=10))
    assert phase.roles == ('learn',)


@pytest.mark.parametrize('kind', sorted(PHASE_KINDS))
def test_weights_of_terms_that_a_kind_lacks_are_zero(kind):
    given_weights = dict(learn=2, retain=3, forget=4, sparsity=5)
    weights = parse(dict(kind=kind, iters=1, bound=1, weights=given_weights)).weights
    expected = {
        name: float(value) if name in (*PHASE_KINDS[kind], 'sparsity') else 0.0
        for name, value in given_weights.items()
    }
    assert weights == expected


class TestLength:
    @given(
        learn=st.integers(1, 60),
        retain=st.integers(1, 200),
        per_batch=st.integers(1, 30),
        world_size=st.integers(1, 9),
        epochs=st.integers(1, 6),
        merge=st.booleans(),
    )
    def test_epoch_is_the_fewest_iterations_that_serve_the_whole_set(
        self, learn, retain, per_batch, world_size, epochs, merge
    ):
        config = dict(
            kind='learn',
            epochs=epochs,
            split=dict(learn=2, retain=per_batch),
            merge_learned=merge,
        )
        phase = parse(config, dict(learn=learn, retain=retain), per_batch + 2, world_size)
        size = retain + (learn if merge else 0)
        served = phase.epoch_length * per_batch * world_size
        assert size <= served < size + per_batch * world_size
        assert phase.length == epochs * phase.epoch_length

    def test_official_lengths(self):
        """ImageNet-100: 10 % of 5 and of 95 classes of 1,300 images, 80 + 80 a batch."""
        sizes = dict(learn=13000, forget=650, retain=12350)
        forget = dict(kind='forget', epochs=5, bound=105)
        assert parse(dict(kind='learn', epochs=5), sizes, 160).length == 5 * math.ceil(12350 / 80)
        merged = parse(dict(forget, merge_learned=True), sizes, 160)
        assert merged.length == 5 * math.ceil((12350 + 13000) / 80)
        assert parse(dict(forget, merge_learned=False), sizes, 160).length == 5 * 155

    @pytest.mark.parametrize(
        ('role', 'merge', 'epoch_length'),
        [('learn', False, 5), ('learn', True, 5), ('forget', False, 2), ('retain', True, 12)],
    )
    def test_epochs_count_in_the_role_asked_for(self, role, merge, epoch_length):
        config = dict(
            kind='joint',
            bound=1,
            epochs=2,
            epoch_role=role,
            merge_learned=merge,
            split=dict(learn=2, forget=3, retain=3),
        )
        phase = parse(config)
        assert (phase.epoch_length, phase.length) == (epoch_length, 2 * epoch_length)

    def test_exactly_one_of_iters_and_epochs(self, raises_config_error):
        with raises_config_error('swap.phases.3', dict(iters=None, epochs=None), 'exactly one'):
            parse(dict(kind='learn'))
        with raises_config_error('swap.phases.3', dict(iters=1, epochs=2), 'exactly one'):
            parse(dict(kind='learn', iters=1, epochs=2))

    @pytest.mark.parametrize('key', ['iters', 'epochs'])
    @pytest.mark.parametrize('value', [0, -3, 2.0, '5', True])
    def test_a_length_is_a_whole_number(self, key, value, raises_config_error):
        with raises_config_error(f'swap.phases.3.{key}', value, 'integer'):
            parse(dict(kind='learn', **{key: value}))

    @pytest.mark.parametrize('role', ['forget', 'keep', None])
    def test_epochs_of_a_role_outside_the_batch(self, role, raises_config_error):
        with raises_config_error('swap.phases.3.epoch_role', role, "['learn', 'retain']"):
            parse(dict(kind='learn', epochs=1, epoch_role=role))


def cases():
    learn, forget = dict(kind='learn', iters=1), dict(kind='forget', iters=1, bound=9)
    joint = dict(kind='joint', iters=1, bound=9)
    yield 'learn', '', 'learn', 'not a dict', "kind='learn'"
    yield dict(learn, iter=3), '.iter', 3, 'unknown key', 'iters'
    yield dict(iters=1), '.kind', None, 'unknown kind', 'forget'
    yield dict(learn, kind='Learn'), '.kind', 'Learn', 'unknown kind', 'learn'
    yield dict(learn, kind=['learn']), '.kind', ['learn'], 'unknown kind', 'learn'

    yield dict(learn, split=['learn']), '.split', ['learn'], 'not a dict', 'retain'
    split = dict(learn=4, forget=4)
    yield dict(learn, split=split), '.split', split, "'forget'", "['learn', 'retain']"
    split = dict(learn=4, keep=4)
    yield dict(learn, split=split), '.split.keep', 4, 'unknown key', "['learn', 'forget', 'retain']"
    for bad in (-1, 4.0, '4', True):
        split = dict(learn=4, retain=bad)
        yield dict(learn, split=split), '.split.retain', bad, 'integer >= 0', ''
    split = dict(retain=8)
    yield dict(learn, split=split), '.split', split, "primary role 'learn'", 'at least one'
    yield dict(forget, split=split), '.split', split, "primary role 'forget'", 'at least one'
    split = dict(learn=4, retain=4)
    yield dict(joint, split=split), '.split', split, "primary role 'forget'", 'at least one'
    for split in (dict(learn=4, retain=3), dict(learn=4, retain=5)):
        sums = f'sums to {sum(split.values())}'
        yield dict(learn, split=split), '.split', split, sums, 'batch_size is 8'

    yield dict(learn, weights=2), '.weights', 2, 'not a dict', 'retain'
    weights = dict(lern=1)
    yield dict(learn, weights=weights), '.weights.lern', 1, 'unknown key', "did you mean 'learn'"
    for bad in (-0.1, math.inf, math.nan, '1', None):
        yield dict(learn, weights=dict(retain=bad)), '.weights.retain', bad, 'finite number', ''
        yield dict(learn, weights=dict(forget=bad)), '.weights.forget', bad, 'finite number', ''

    for bad in (0, -1, math.inf, math.nan, '105', None):
        yield dict(forget, bound=bad), '.bound', bad, 'finite number > 0', '105'
        yield dict(joint, bound=bad), '.bound', bad, 'finite number > 0', '105'
    yield dict(kind='forget', iters=1), '.bound', math.inf, 'finite number > 0', '105'
    for bad in (0, math.nan, 'high', None):
        yield dict(learn, bound=bad), '.bound', bad, 'number > 0', 'learn phase'

    for bad in (0, -1.0, math.inf, math.nan, '1', None):
        yield dict(learn, lr_factor=bad), '.lr_factor', bad, 'finite number > 0', '1.0'
    for bad in (1, 1.0, -0.1, math.nan, '0.5'):
        yield dict(learn, merged_share=bad), '.merged_share', bad, '[0, 1)', '0.3'
    for key in ('merge_learned', 'restart_lr', 'restart_optimizer'):
        for bad in ('no', None, 1):
            yield dict(learn, **{key: bad}), f'.{key}', bad, 'neither True nor False', ''
    for bad in ('CosineAnnealingLR', 3):
        yield dict(learn, param_scheduler=bad), '.param_scheduler', bad, 'not a dict', 'type='
        listed = [dict(type='ConstantLR'), bad]
        yield dict(learn, param_scheduler=listed), '.param_scheduler', bad, 'not a dict', 'type='


@pytest.mark.parametrize(('config', 'key', 'value', 'problem', 'fix'), list(cases()))
def test_bad_phase(config, key, value, problem, fix, raises_config_error):
    with raises_config_error(f'swap.phases.3{key}', value, problem, fix):
        parse(config)


def test_a_share_of_no_sample_is_refused(raises_config_error):
    config = dict(kind='learn', iters=1, merge_learned=True, merged_share=0.01)
    problem = 'of 4 retain samples a batch that is none'
    with raises_config_error('swap.phases.3.merged_share', 0.01, problem, 'at least'):
        parse(config)


def test_share_zero_and_none_are_allowed():
    for share in (None, 0, 0.0, 0.99):
        config = dict(kind='learn', iters=1, merge_learned=True, merged_share=share)
        assert parse(config).merged_share == share


@pytest.mark.parametrize(
    ('kind', 'empty'),
    [('learn', 'learn'), ('learn', 'retain'), ('forget', 'forget'), ('joint', 'forget')],
)
def test_role_of_the_batch_without_samples(kind, empty, raises_config_error):
    config = dict(kind=kind, iters=1, bound=9)
    fix = f'train_dataloader.dataset.roles.{empty}'
    for sizes in (SIZES | {empty: 0}, {r: n for r, n in SIZES.items() if r != empty}):
        with raises_config_error('swap.phases.3.kind', kind, f"'{empty}' has no samples", fix):
            parse(config, sizes)


def test_merging_without_learn_data(raises_config_error):
    config = dict(kind='forget', iters=1, bound=9, merge_learned=True)
    with raises_config_error('swap.phases.3.merge_learned', True, 'no learn data', 'False'):
        parse(config, dict(forget=4, retain=4))


@pytest.mark.parametrize('kind', ['learn', 'forget', 'joint'])
def test_no_bound_on_purpose(kind):
    assert parse(dict(kind=kind, iters=1, bound='none')).bound == math.inf
