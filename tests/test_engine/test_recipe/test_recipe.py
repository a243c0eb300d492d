"""Which value wins, where ``auto`` may stand, and what a resolved config is."""

import copy

import pytest
from mmengine.config import Config

from knowswap_mm.engine.config import override
from knowswap_mm.engine.recipe import Facts, Recipe, formulas, settle
from knowswap_mm.errors import CheckpointError
from knowswap_mm.runs.plan import Plan
from knowswap_mm.schedule import SwapSchedule

FACTS = Facts(
    samples=dict(learn=24, forget=12, retain=48),
    classes=dict(learn=2, forget=1, retain=4),
    batch=8,
    chance=2.0,
    silence=2.0,
    width=96,
)
#: Each number of the recipe and what a user may give instead, but for those of the data set.
GIVEN = {
    'optim_wrapper.optimizer.lr': 3e-3,
    'optim_wrapper.clip_grad': None,
    'param_scheduler': None,
    'model.lora.alpha': 4,
    'train_dataloader.dataset.roles.retain.fraction': 0.5,
    'train_dataloader.dataset.roles.retain.fraction_by': 'set',
    'swap.phases.1.split': dict(forget=2, retain=6),
    'swap.phases.1.iters': 7,
    'swap.phases.1.weights.retain': 0.9,
    'swap.phases.1.weights.forget': 0.3,
    'swap.phases.1.weights.sparsity': 0.01,
    'swap.phases.1.bound': 9.0,
    'swap.phases.1.merged_share': None,
}


def whole(**changes):
    """A config that gives the host, the data and the classes."""
    roles = {role: dict(dataset=dict(type='CustomDataset')) for role in FACTS.samples}
    config = dict(
        swap=dict(recipe='auto', order='learn-forget', classes=dict(old='abcde', forget=['auto'])),
        model=dict(type='knowswap_mm.KnowledgeSwapper', host=dict(padding='auto'), lora=dict()),
        train_dataloader=dict(batch_size=8, dataset=dict(roles=roles)),
    )
    cfg = Config(config)
    override(cfg, changes)
    return cfg


def planned(cfg, facts=FACTS):
    """Both steps: the entries of the plan by key."""
    plan = Recipe(cfg).resolve(cfg, facts)
    return {entry.key: entry for entry in plan.entries}


def at(cfg, key):
    for name in key.split('.'):
        cfg = cfg[int(name) if name.isdecimal() else name]
    return cfg


def without_recipe(key, value):
    """A config that gives all numbers but has another value for one."""
    numbers = {k: v for k, v in GIVEN.items() if not k.startswith('swap.')}
    cfg = whole(**numbers)
    override(cfg, {'optim_wrapper.optimizer.type': 'AdamW', 'swap.recipe': None})
    cfg.param_scheduler = cfg.optim_wrapper.clip_grad = None
    phases = [dict(kind='learn', iters=5), dict(kind='forget', bound=4.0, iters=5)]
    phases[1].update(merge_learned=True, weights=dict(forget=0.2))
    cfg.swap = dict(phases=phases, classes=cfg.swap.classes)
    override(cfg, {key: value})
    return cfg


@pytest.mark.parametrize('key', GIVEN)
def test_a_number_comes_from_the_recipe_or_is_given(key):
    chosen = planned(cfg := whole())
    assert chosen[key].source == 'auto' and chosen[key].why
    assert at(cfg, key) == chosen[key].value != GIVEN[key]
    found = planned(cfg := whole(**{key: GIVEN[key]}))
    assert found[key].source == 'given' and not found[key].why
    assert at(cfg, key) == found[key].value == GIVEN[key]
    others = {k for k, entry in found.items() if entry.source == 'given'}
    assert others == {key} and set(chosen) == set(found)


@pytest.mark.parametrize('key', GIVEN)
def test_a_single_number_is_left_to_the_recipe(key):
    before = without_recipe(key, GIVEN[key])
    assert not planned(cfg := copy.deepcopy(before)) and cfg.to_dict() == before.to_dict()
    found = planned(cfg := without_recipe(key, 'auto'))
    assert [k for k, entry in found.items() if entry.source == 'auto'] == [key]
    assert at(cfg, key) == found[key].value == planned(whole())[key].value


def test_settings_by_kind_and_by_position_win_over_the_recipe():
    cfg = whole(**{'swap.order': 'learn-forget-learn'})
    cfg.swap.phase_settings = dict(learn=dict(iters=9, weights=dict(learn=0.7)))
    override(cfg, {'swap.phases.2.iters': 4, 'swap.phases.0.weights.learn': 'auto'})
    found = planned(cfg)
    lengths = [found[f'swap.phases.{i}.iters'] for i in range(3)]
    assert [each.source for each in lengths] == ['given', 'auto', 'given']
    assert [phase.iters for phase in cfg.swap.phases] == [9, formulas.SHORTEST, 4]
    assert [phase.weights.learn for phase in cfg.swap.phases[::2]] == [1.0, 0.7]


def test_a_length_in_epochs_is_a_length():
    found = planned(cfg := whole(**{'swap.phase_settings.learn.epochs': 3}))
    assert found['swap.phases.0.epochs'].value == 3 and 'swap.phases.0.iters' not in found
    assert 'iters' not in cfg.swap.phases[0]


def test_an_optimizer_is_completed_part_by_part():
    cfg = whole(**{'optim_wrapper.dtype': 'bfloat16', 'optim_wrapper.optimizer.weight_decay': 0.1})
    planned(cfg)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.weight_decay, optimizer.lr) == ('AdamW', 0.1, 0.01)
    planned(cfg := whole(**{'optim_wrapper.optimizer.type': 'Adam'}))
    assert dict(cfg.optim_wrapper.optimizer) == dict(type='Adam', lr=0.01)
    # A config for tests alone stays without: mmengine wants all parts of a training, or none.
    cfg = whole()
    cfg.pop('train_dataloader')
    assert 'optim_wrapper' not in settle(cfg) and 'param_scheduler' not in cfg


@pytest.mark.parametrize(
    'key',
    [
        'model.lora.rank',
        'optim_wrapper.optimizer.weight_decay',
        'swap.phases.0.restart_lr',
        'swap.phases.0.epochs',
        'swap.phases.0.weights',
        'val_dataloader.dataset.roles.learn.fraction',
        'train_dataloader.dataset.roles.learn.seed',
    ],
)
def test_auto_elsewhere_is_refused(key, raises_config_error):
    with raises_config_error(key, 'auto', 'the recipe chooses', 'optim_wrapper.optimizer.lr'):
        Recipe(whole(**{key: 'auto'}))


def test_another_recipe_is_refused(raises_config_error):
    with raises_config_error('swap.recipe', 'best', 'unknown recipe'):
        SwapSchedule.from_config(dict(recipe='best', order='learn'), FACTS.samples, 8)


def test_given_values_are_checked_as_ever(raises_config_error):
    for key, value in (('iters', 0), ('bound', -1), ('merged_share', 2), ('split', dict(x=1))):
        cfg = whole(**{f'swap.phase_settings.forget.{key}': value})
        with raises_config_error(f'swap.phases.1.{key}', value):
            planned(cfg)
            SwapSchedule.from_config(cfg.swap, FACTS.samples, 8)


def test_a_resolved_config_says_all_by_itself():
    cfg = whole()
    plan = Recipe(cfg).resolve(cfg, FACTS)
    text = cfg.pretty_text
    assert plan.entries and 'recipe' not in cfg.swap and 'order' not in cfg.swap
    again = Config.fromstring(text, '.py')
    more = Facts(
        dict(learn=1, forget=1, retain=1), FACTS.classes, 8, chance=9.0, silence=9.0, width=7
    )
    assert not Recipe(again).resolve(again, more).entries and again.to_dict() == cfg.to_dict()
    schedules = [SwapSchedule.from_config(each.swap, FACTS.samples, 8) for each in (cfg, again)]
    assert schedules[0] == schedules[1]


def test_a_config_that_is_no_swap_is_left_alone():
    cfg = Config(dict(model=dict(type='ImageClassifier', lora=dict(rank='auto'))))
    assert settle(copy.deepcopy(cfg)).to_dict() == cfg.to_dict()


def test_another_choice_than_that_of_the_checkpoint_is_refused():
    plan = Recipe(cfg := whole()).resolve(cfg, FACTS)
    stored = plan.to_list()
    plan.check_resumed('a.pth', stored)
    plan.check_resumed('a.pth', None)  # of an earlier version
    Plan().check_resumed('a.pth', stored)
    (rate,) = [each for each in stored if each['key'] == 'optim_wrapper.optimizer.lr']
    rate['value'] = 0.5
    text = 'a.pth was written with optim_wrapper.optimizer.lr = 0.5.*now chooses 0.01'
    with pytest.raises(CheckpointError, match=text):
        plan.check_resumed('a.pth', stored)
