"""The config of a host without a trace of this package."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from knowswap_mm.errors import ConfigError
from knowswap_mm.models.host_config import without_pretrained
from knowswap_mm.registry import MODELS, class_of

_OURS = 'knowswap_mm.'


def plain_host_config(host: dict[str, Any]) -> dict[str, Any]:
    """Replace types of ours by the host's types that they extend, or by what they wrap.

    Options that only our type has are left out. A type that wraps another one says where its
    config has it, by an attribute ``plain_part``.

    Args:
        host (dict): ``model.host`` of a swap.

    Returns:
        dict: The config that builds the same network in stock tools.

    Raises:
        ConfigError: If a type of ours extends none of a host library.
    """
    return _plain(without_pretrained(host), 'model.host')


def plain_key_prefixes(host: nn.Module) -> dict[str, str]:
    """Beginnings of keys that change when what is wrapped takes the place of its wrapper.

    Args:
        host (nn.Module): A host.

    Returns:
        dict[str, str]: For a wrapped backbone ``{'backbone.backbone.': 'backbone.'}``.
    """
    wrappers = ((n, m) for n, m in host.named_modules() if hasattr(m, 'plain_part'))
    return {f'{name}.{module.plain_part}.': f'{name}.' for name, module in wrappers}


def plain_name(name: str, prefixes: dict[str, str]) -> str:
    """Name of a tensor or a module in the plain host."""
    for old, new in prefixes.items():
        if name.startswith(old):
            return new + name[len(old) :]
    return name


def _plain(value: Any, key: str) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(each, f'{key}.{i}') for i, each in enumerate(value))
    if not isinstance(value, dict):
        return value
    result = {name: _plain(each, f'{key}.{name}') for name, each in value.items()}
    name = value.get('type')
    if inspect.isclass(name) and not name.__module__.startswith(_OURS):
        result['type'] = f'{name.__module__}.{name.__name__}'  # as mmengine writes classes
    elif str(getattr(name, '__module__', name)).startswith(_OURS):
        ours = class_of(name, MODELS)
        if part := getattr(ours, 'plain_part', None):
            return result[part]
        kinds = ours.__mro__ if ours else ()
        base = next((kind for kind in kinds if not kind.__module__.startswith(_OURS)), None)
        package = base.__module__.split('.')[0] if base else ''
        if not package.startswith('mm'):
            fix = 'use a type of the host library there'
            raise ConfigError(f'{key}.type', name, 'has no counterpart in a host library', fix)
        known = set(inspect.signature(base.__init__).parameters)
        extra = set(inspect.signature(ours.__init__).parameters) - known
        result = {key: each for key, each in result.items() if key not in extra}
        result['type'] = f'{package}.{base.__name__}'
    return result
