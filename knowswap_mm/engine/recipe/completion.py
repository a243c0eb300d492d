"""Where a config may say ``auto``, and how ``swap.recipe`` says it for all that is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from mmengine.config import Config

from knowswap_mm.checks import arguments_of
from knowswap_mm.datasets.role_dataset import VIEW
from knowswap_mm.engine.recipe.facts import PhaseFacts
from knowswap_mm.engine.recipe.formulas import (
    OF_CONFIG,
    OF_PHASE,
    OF_RUN,
    OPTIMIZER,
    OPTIMIZER_WHY,
    WRAPPER,
)
from knowswap_mm.errors import ConfigError
from knowswap_mm.registry import DATASETS, MODELS, class_of
from knowswap_mm.roles import FORGET
from knowswap_mm.runs.plan import Entry
from knowswap_mm.schedule.schedule import AUTO

_LOSS = 'knowswap_mm.SwappingLoss'
_USES = [re.escape(key).replace(r'\*', r'\w+') for key in (*OF_CONFIG, *OF_RUN)]
_USES.append(rf'swap\.(phases|phase_settings)\.\w+\.({"|".join(map(re.escape, OF_PHASE))})')
#: What is looked through for other uses. Elsewhere the word may mean something.
_OURS = (
    'optim_wrapper', 'param_scheduler', 'model.lora', 'model.loss', 'swap.phases',
    'swap.phase_settings',
    *(f'{split}_dataloader.dataset.roles' for split in ('train', 'val', 'test')),
)  # fmt: skip
#: Keys whose dicts and texts are names that a user, or a host, chooses.
_NAMES = ('dataset', 'label_map', 'adapter_name')


def is_auto(value: Any) -> bool:
    """Whether the recipe is to choose a value."""
    return isinstance(value, str) and value == AUTO


def refuse_other_uses(cfg: Config) -> None:
    """Require that ``auto`` stands only where the recipe has a number.

    Raises:
        ConfigError: Names the first other place.
    """
    for root in _OURS:
        for key, value in values_below(root, value_at(cfg, root)):
            if is_auto(value) and not any(re.fullmatch(use, key) for use in _USES):
                known = [*OF_CONFIG, *OF_RUN, *(f'swap.phases.N.{name}' for name in OF_PHASE)]
                fix = f"give a value; 'auto' is for {', '.join(known)}"
                raise ConfigError(key, value, 'is nothing that the recipe chooses', fix)


def complete(cfg: Config) -> list[Entry]:
    """Write ``auto``, in place, for all numbers outside of phases that a config does not give.

    Returns:
        list[Entry]: What was added beside numbers: an optimizer, if there was none.
    """
    entries = []
    if cfg.get('train_dataloader') is not None:  # a config for tests alone has no optimizer
        if cfg.get('optim_wrapper') is None:
            cfg['optim_wrapper'] = dict(type=WRAPPER)
        if isinstance(cfg['optim_wrapper'], MutableMapping):
            entries = _complete_optimizer(cfg['optim_wrapper'])
        if 'param_scheduler' not in cfg:
            cfg['param_scheduler'] = AUTO
    if isinstance(cfg.get('model'), MutableMapping):
        _complete_model(cfg['model'])
    view = value_at(cfg, 'train_dataloader.dataset.view') or VIEW
    roles = value_at(cfg, 'train_dataloader.dataset.roles')
    for role in roles.values() if isinstance(roles, Mapping) else ():
        if isinstance(role, MutableMapping):
            kind = class_of(role.get('view', view), DATASETS)
            for name in ('fraction', 'fraction_by'):
                if kind is None or _takes(kind, name):
                    role.setdefault(name, AUTO)
    return entries


def _complete_optimizer(wrapper: MutableMapping[str, Any]) -> list[Entry]:
    given = wrapper.get('optimizer') or {}
    if not isinstance(given, Mapping):  # one that is built already
        return []
    added = OPTIMIZER if 'type' not in given else {}
    wrapper['optimizer'] = dict(lr=AUTO) | added | dict(given)
    wrapper.setdefault('clip_grad', AUTO)
    return [
        Entry(f'optim_wrapper.optimizer.{name}', value, AUTO, OPTIMIZER_WHY)
        for name, value in added.items()
        if name not in given
    ]


def _complete_model(model: MutableMapping[str, Any]) -> None:
    if isinstance(model.get('lora'), MutableMapping):
        model['lora'].setdefault('alpha', AUTO)
    loss = model.get('loss') or dict(type=_LOSS)
    kind = class_of(loss.get('type'), MODELS) if isinstance(loss, Mapping) else None
    if kind is not None and _takes(kind, 'hinge'):
        model['loss'] = dict(hinge=AUTO) | dict(loss)


def complete_phase(phase: dict[str, Any], about: PhaseFacts) -> None:
    """Write ``auto``, in place, for all numbers that a phase does not give."""
    phase.setdefault('split', AUTO)
    if phase.get('epochs') is None and phase.get('iters') is None:
        phase['iters'] = AUTO
    if about.kind == FORGET:
        phase.setdefault('lr_factor', AUTO)
    weights = phase.setdefault('weights', {})
    if isinstance(weights, MutableMapping):
        for name in (*about.roles, 'sparsity'):
            weights.setdefault(name, AUTO)
    if FORGET in about.roles:
        phase.setdefault('bound', AUTO)
    if about.merges:
        phase.setdefault('merged_share', AUTO)


def _takes(kind: type, name: str) -> bool:
    names = arguments_of(kind)
    return names is None or name in names


def value_at(config: Any, key: str) -> Any:
    """What stands under a key; None if there is no such place."""
    for name in key.split('.'):
        config = config.get(name) if isinstance(config, (Config, Mapping)) else None
    return config


def holder_of(config: Any, key: str) -> tuple[Any, str]:
    """The dict in which a key ends, or whatever is there instead, and its last part."""
    path, _, name = key.rpartition('.')
    return (value_at(config, path) if path else config), name


def present(config: Any, pattern: str) -> list[str]:
    """The keys with a value that a pattern means, in which one part may be ``*`` for any name."""
    before, star, rest = pattern.partition('.*.')
    if not star:
        holder, name = holder_of(config, pattern)
        there = isinstance(holder, (Config, MutableMapping)) and name in holder
        return [pattern] if there else []
    names = value_at(config, before)
    listed = names if isinstance(names, Mapping) else ()
    return [key for name in listed for key in present(config, f'{before}.{name}.{rest}')]


def values_below(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Keys and values of all that is no dict or list, but for names of users and hosts."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            if name not in _NAMES:
                yield from values_below(f'{key}.{name}', each)
    elif isinstance(value, (list, tuple)):
        for position, each in enumerate(value):
            yield from values_below(f'{key}.{position}', each)
    else:
        yield key, value
