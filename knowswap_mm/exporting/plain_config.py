"""The config of a host without a trace of this package."""

from __future__ import annotations

import inspect
from typing import Any

from mmengine.registry import MODELS as HOST_MODELS

from knowswap_mm.errors import ConfigError
from knowswap_mm.models.host_config import without_pretrained

_OURS = 'knowswap_mm.'


def plain_host_config(host: dict[str, Any]) -> dict[str, Any]:
    """Replace types of ours by the host's types that they extend.

    Options that only our type has are left out.

    Args:
        host (dict): ``model.host`` of a swap.

    Returns:
        dict: The config that builds the same network in stock tools.

    Raises:
        ConfigError: If a type of ours extends none of a host library.
    """
    return _plain(without_pretrained(host), 'model.host')


def _plain(value: Any, key: str) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(each, f'{key}.{i}') for i, each in enumerate(value))
    if not isinstance(value, dict):
        return value
    result = {name: _plain(each, f'{key}.{name}') for name, each in value.items()}
    name = value.get('type')
    if isinstance(name, str) and name.startswith(_OURS):
        ours = HOST_MODELS.get(name)
        base = next((c for c in ours.__mro__ if not c.__module__.startswith(_OURS)), None)
        package = base.__module__.split('.')[0] if base else ''
        if not package.startswith('mm'):
            fix = 'use a type of the host library there'
            raise ConfigError(f'{key}.type', name, 'has no counterpart in a host library', fix)
        known = set(inspect.signature(base.__init__).parameters)
        extra = set(inspect.signature(ours.__init__).parameters) - known
        result = {key: each for key, each in result.items() if key not in extra}
        result['type'] = f'{package}.{base.__name__}'
    return result
