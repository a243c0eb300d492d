"""A key that nothing reads is refused with the nearest right one, wherever it stands (issue 24)."""

import copy
from collections.abc import Mapping

import pytest
from mmengine.registry import RUNNERS

from knowswap_mm.checks import arguments_of, did_you_mean, nearest_name
from knowswap_mm.errors import ConfigError
from tests.helpers.swap_configs import forget, learn, swap_config

#: Dicts that belong to a host, or hold names that a user chooses.
NOT_OURS = (
    'model.host', 'roles.learn.dataset', 'roles.forget.dataset', 'roles.retain.dataset',
    'evaluator.metric', '.label_map', 'optimizer', 'paramwise_cfg',
)  # fmt: skip


def full(root):
    """A swap config with as many keys of ours as one can have."""
    phases = [
        learn(iters=2, split=dict(learn=4, retain=4)),
        forget(iters=2, param_scheduler=[dict(type='CosineAnnealingLR', T_max=2)]),
    ]
    config = swap_config(root, root / 'nowhere', phases, policy='new_rows')
    config.swap.nonfinite = dict(action='skip', limit=3)
    config.swap.guard = dict(looks=4)
    config.model.loss = dict(type='knowswap_mm.SwappingLoss', group_by='block')
    config.model.accelerations = [dict(type='knowswap_mm.LeanLoRA'), 'PackedAttention']
    data = config.train_dataloader.dataset
    data.cache = dict(size='1MB', where='memory')
    data.roles.retain.update(fraction=0.5, label_map=dict(q='a'))
    config.param_scheduler = dict(type='LinearLR', start_factor=0.5)
    # mmengine takes some keys beside the arguments.
    hook = dict(type='knowswap_mm.PhaseHook', save_phases=False, priority='HIGHEST')
    config.custom_hooks = [hook]
    config.optim_wrapper.update(
        type='knowswap_mm.SwapOptimWrapper', constructor='DefaultOptimWrapperConstructor',
        paramwise_cfg=dict(bias_lr_mult=1.0),
    )  # fmt: skip
    config.default_hooks.runtime_info = dict(type='knowswap_mm.DeviceScalarsHook')
    config.log_processor = dict(type='knowswap_mm.SwapLogProcessor', by_epoch=False)
    config.audit = dict(
        samples=10,
        settings=dict(LinearProbe=dict(folds=3)),
        reader=dict(type='knowswap_mm.DetectionReader', score=0.5),
        parts=['Drift', 'LinearProbe', dict(type='knowswap_mm.Relearning', steps=3)],
    )
    return config


def with_order(root):
    """The same with settings by kind, of which the order uses one."""
    config = full(root)
    phases = config.swap.pop('phases')
    config.swap.order = 'learn'
    config.swap.phase_settings = dict(
        learn={k: v for k, v in phases[0].items() if k != 'kind'},
        forget={k: v for k, v in phases[1].items() if k not in ('kind', 'param_scheduler')},
    )
    config.swap.phases = {'0': dict(iters=3)}
    return config


def dicts(value, key=''):
    """All dicts in a config that are ours, by their keys."""
    if any(each in key for each in NOT_OURS):
        return
    if isinstance(value, Mapping):
        yield key, value
        for name, each in value.items():
            yield from dicts(each, f'{key}.{name}' if key else str(name))
    elif isinstance(value, (list, tuple)):
        for place, each in enumerate(value):
            yield from dicts(each, f'{key}.{place}')


def place_of(config, key):
    for name in key.split('.'):
        config = config[int(name) if isinstance(config, (list, tuple)) else name]
    return config


def ours(config):
    """Keys of the dicts to try: below the fields of ours, and modules of ours elsewhere."""
    for key, value in dicts(config):
        kind = str(value.get('type', ''))
        below = key.split('.')[0] in ('swap', 'model', 'audit', 'param_scheduler')
        named = kind.startswith('knowswap_mm.')
        if below or named or '.dataset' in key:
            yield key


@pytest.mark.parametrize('make', [full, with_order])
def test_unknown_key_anywhere(make, picture_tree):
    config = make(picture_tree)
    keys = list(ours(config.to_dict()))
    assert len(keys) > 20 and 'audit.settings.LinearProbe' in keys
    RUNNERS.build(copy.deepcopy(config))._resolve()
    for key in keys:
        skipped = ('type', '0', 'priority', 'constructor', 'paramwise_cfg')
        names = [name for name in place_of(config, key) if name not in skipped]
        # Where a dict has no key but its type there is no near name to offer.
        name = f'{names[-1]}q' if names else 'qqqq'
        changed = copy.deepcopy(config)
        place_of(changed, key)[name] = 5
        try:
            RUNNERS.build(changed)._resolve()
        except ConfigError as error:
            caught = error
        else:
            pytest.fail(f'{key}.{name} is not refused')
        message = str(caught)
        assert name in message.split(': ')[0], (key, message)
        assert not names or f'did you mean {names[-1]!r}' in message, (key, message)
        assert not (picture_tree / 'nowhere' / 'schedule.json').exists()


def test_a_kind_that_is_none_in_phase_settings(picture_tree):
    config = with_order(picture_tree)
    config.swap.phase_settings.lern = config.swap.phase_settings.pop('learn')
    with pytest.raises(ConfigError, match=r"^swap.phase_settings.lern = .*did you mean 'learn'"):
        RUNNERS.build(config)


def test_settings_of_a_kind_that_the_order_lacks_are_told(picture_tree, capfd):
    RUNNERS.build(with_order(picture_tree))._resolve()
    told = ''.join(capfd.readouterr())
    assert "swap.phase_settings.forget is not used: the order 'learn' has no such phase" in told


@pytest.mark.parametrize(
    ('key', 'value', 'near'),
    [
        ('model.type', 'knowswap_mm.KnowledgeSwaper', 'KnowledgeSwapper'),
        ('custom_hooks.0.type', 'knowswap_mm.PhasHook', 'PhaseHook'),
        ('train_dataloader.dataset.type', 'knowswap_mm.RoleDatset', 'RoleDataset'),
        ('audit.skip', ['Drft'], 'Drift'),
        ('audit.parts', ['LinearProb'], 'LinearProbe'),
        ('model.accelerations', ['LeanLora2'], 'LeanLoRA'),
    ],
)
def test_unknown_name_of_a_module(key, value, near, picture_tree):
    config = full(picture_tree)
    *folders, last = key.split('.')
    place_of(config, '.'.join(folders))[last] = value
    with pytest.raises(ConfigError, match=f"did you mean '(knowswap_mm.)?{near}'"):
        RUNNERS.build(config)


def test_nearest_name():
    assert nearest_name('LERN', ['learn', 'forget']) == ['learn']
    assert nearest_name('zzzz', ['learn', 'forget']) == []
    assert did_you_mean('lern', ['learn', 'forget']).startswith("did you mean 'learn'?")
    assert did_you_mean('zzzz', ['learn', 'forget']) == "use ['learn', 'forget']"


def test_arguments_that_a_class_hands_on():
    class Base:
        def __init__(self, a, b=1):
            pass

    class Child(Base):
        def __init__(self, c, **kwargs):
            pass

    class Any(Base):
        def __init__(self, **kwargs):
            pass

    assert arguments_of(Child) == ['c', 'a', 'b']
    assert arguments_of(Any) == ['a', 'b']
    assert arguments_of(type('Loose', (), dict(__init__=lambda self, **kwargs: None))) is None
