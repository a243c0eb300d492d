"""Named orders of phases, and how a config's order becomes a list of phases."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log

from knowswap_mm.errors import ConfigError
from knowswap_mm.schedule.swap_phase import PHASE_KINDS

ORDERS: dict[str, tuple[str, ...]] = {
    'learn': ('learn',),
    'forget': ('forget',),
    'joint': ('joint',),
    'learn-forget': ('learn', 'forget'),
    'forget-learn': ('forget', 'learn'),
    'learn-forget-learn': ('learn', 'forget', 'learn'),
    'forget-learn-forget': ('forget', 'learn', 'forget'),
}


def phases_of_order(order: str | list[str], defaults: dict[str, Any]) -> list[dict[str, Any]]:
    """Spell out an order as a list of phase configs.

    A forget phase that comes after a learn phase has the learned data in its retain set, as in the
    paper's learn-before-forget strategy; ``merge_learned`` in ``defaults`` overrides that.

    Args:
        order (str | list[str]): A name of :data:`ORDERS`, kinds joined by ``-``, or a list of
            kinds.
        defaults (dict): Phase settings by kind, e.g. ``dict(learn=dict(epochs=5))``.

    Returns:
        list[dict]: One config a phase.

    Raises:
        ConfigError: If a kind is unknown, or a kind of the order has no settings.
    """
    if not isinstance(order, (str, list, tuple)):
        fix = f'use one of {sorted(ORDERS)} or a list of {list(PHASE_KINDS)}'
        raise ConfigError('swap.order', order, 'neither a name nor a list', fix)
    if not isinstance(defaults, Mapping):
        fix = 'write swap.phase_settings = dict(learn=dict(epochs=...), ...)'
        raise ConfigError('swap.phase_settings', defaults, 'not a dict', fix)
    kinds = order.split('-') if isinstance(order, str) else list(order)
    phases = []
    for position, kind in enumerate(kinds):
        if not isinstance(kind, str) or kind not in PHASE_KINDS:
            raise ConfigError(
                'swap.order',
                order,
                f'{kind!r} is no kind of phase',
                f'use one of {sorted(ORDERS)} or any list of {list(PHASE_KINDS)}',
            )
        if kind not in defaults:
            raise ConfigError(
                'swap.phase_settings',
                sorted(defaults),
                f'the order {order!r} has a {kind!r} phase but no settings for it',
                f'add swap.phase_settings.{kind} = dict(epochs=...) or write swap.phases',
            )
        if not isinstance(defaults[kind], Mapping):
            key, fix = f'swap.phase_settings.{kind}', 'write e.g. dict(epochs=5)'
            raise ConfigError(key, defaults[kind], 'not a dict', fix)
        settings = dict(defaults[kind])
        learned_before = any(earlier in ('learn', 'joint') for earlier in kinds[:position])
        settings.setdefault('merge_learned', kind == 'forget' and learned_before)
        phases.append(dict(settings, kind=kind))
    for kind in defaults:
        if kind not in kinds:
            text = f'swap.phase_settings.{kind} is not used: the order {order!r} has no such phase.'
            print_log(text, logger='current', level=logging.WARNING)
    return phases


def changed_phases(
    phases: list[dict[str, Any]], changes: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Change single phases of an order, as ``--cfg-options swap.phases.1.bound=20`` says.

    Args:
        phases (list[dict]): The phases of the order.
        changes (Mapping): What to change, by the position of the phase.

    Raises:
        ConfigError: If the order has no such phase, or the change is not a dict.
    """
    changed = list(phases)
    for position, change in changes.items():
        key = f'swap.phases.{position}'
        if int(position) >= len(phases):
            fix = f'use 0 to {len(phases) - 1}'
            raise ConfigError(key, change, f'the order has {len(phases)} phases', fix)
        if not isinstance(change, Mapping):
            raise ConfigError(key, change, 'not a dict', 'write e.g. dict(bound=20)')
        phase = changed[int(position)]
        changed[int(position)] = phase | {
            name: {**phase[name], **value}
            if isinstance(value, Mapping) and isinstance(phase.get(name), Mapping)
            else value
            for name, value in change.items()
        }
    return changed
