"""Puts the accelerations of a config on a host."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from knowswap_mm.acceleration.acceleration import Acceleration
from knowswap_mm.errors import ConfigError
from knowswap_mm.registry import ACCELERATIONS, class_of, type_name
from knowswap_mm.value_checks import check_arguments, check_mapping, did_you_mean

#: What every swap uses; each has a parity test and pays in the table of ``docs/performance.md``.
DEFAULTS: tuple[str, ...] = (
    'LeanLoRA',
    'PackedAttention',
    'FusedWindowAttention',
    'BatchedDINOLosses',
    'BatchedMask2FormerLosses',
)


def accelerate(
    host: nn.Module, accelerations: Sequence[str | Mapping[str, Any]] | None = None
) -> dict[str, int]:
    """Apply accelerations one after the other.

    Args:
        host (nn.Module): The host with its adapters.
        accelerations (Sequence | None): Names or configs, the field ``model.accelerations``; None
            takes :data:`DEFAULTS`, an empty list none.

    Returns:
        dict[str, int]: Modules that each one changed, by name.

    Raises:
        ConfigError: If a name or an argument is unknown.
    """
    chosen = DEFAULTS if accelerations is None else accelerations
    if not isinstance(chosen, (list, tuple)):
        fix = "give a list, e.g. ['LeanLoRA']"
        raise ConfigError('model.accelerations', chosen, 'no list', fix)
    changed = {}
    for entry in chosen:
        if inspect.isclass(entry):
            entry = dict(type=entry)
        if not isinstance(entry, str):
            check_mapping('model.accelerations', entry, "dict(type='knowswap_mm.LeanLoRA')")
        config = dict(type=f'knowswap_mm.{entry}') if isinstance(entry, str) else dict(entry)
        kind = class_of(config.get('type'), ACCELERATIONS)
        if kind is None or not issubclass(kind, Acceleration):
            fix = did_you_mean(type_name(config.get('type')), sorted(ACCELERATIONS.module_dict))
            raise ConfigError('model.accelerations', entry, 'no acceleration', fix)
        check_arguments(f'model.accelerations.{kind.__name__}', config, kind)
        options = {key: value for key, value in config.items() if key != 'type'}
        try:
            built = kind(**options)
        except TypeError as error:
            fix = f'see the arguments of knowswap_mm.acceleration.{kind.__name__}'
            raise ConfigError('model.accelerations', entry, str(error), fix) from None
        changed[kind.__name__] = built.apply(host)
    return changed
