"""The keys of a host's config that count its classes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from knowswap_mm.errors import ConfigError

_LIKE_A_COUNT = re.compile(r'.*(class|categor|thing|stuff|label).*')


def walk(
    config: Any, keys: Sequence[str], kinds: type | tuple[type, ...] = int, path: str = ''
) -> Iterator[tuple[str, Any]]:
    """Values of a kind under some keys, at any depth.

    Args:
        config: Config of a host, or a part of it.
        keys (Sequence[str]): Keys; one with dots is the end of a path, without indices of lists.
        kinds (type | tuple[type, ...]): Types of the values.
        path (str): Where the part lies.

    Yields:
        tuple[str, Any]: Path and value.
    """
    if isinstance(config, dict):
        for key, value in config.items():
            inner = f'{path}.{key}' if path else str(key)
            if isinstance(value, kinds) and _is_under(inner, keys):
                yield inner, value
            yield from walk(value, keys, kinds, inner)
    elif isinstance(config, (list, tuple)):
        for value in config:
            yield from walk(value, keys, kinds, path)


def one_count(config: dict[str, Any], keys: Sequence[str]) -> int:
    """The number of classes of a host.

    Args:
        config (dict): Config of the host.
        keys (Sequence[str]): ``model.head.count_keys``.

    Raises:
        ConfigError: If there is none, or more than one.
    """
    places = {path: value for path, value in walk(config, keys) if value}
    counts = set(places.values())
    if len(counts) == 1:
        return counts.pop()
    if counts:
        shown = ', '.join(f'{path} = {value}' for path, value in places.items())
        fix = (
            'give every head of model.host the same number of classes (old and new ones), or name '
            'in model.head.count_keys those that count the classes of the swap, e.g. '
            f'{sorted(places)[:1]}'
        )
        problem = f'one number of classes is needed under {list(keys)}; there are {shown}'
    else:
        alike = {}
        for path, value in walk(config, ('',)):
            if _LIKE_A_COUNT.fullmatch(path.rpartition('.')[2]) and type(value) is int:
                alike.setdefault(path.rpartition('.')[2], value)
        found = ', '.join(f'{key} = {value}' for key, value in alike.items()) or 'none'
        fix = 'name the keys that count the classes in model.head.count_keys'
        if alike:
            fix += f', e.g. {list(alike)[:1]}'
        problem = f'one number of classes is needed under {list(keys)}; similar keys: {found}'
    raise ConfigError('model.host', sorted(counts), problem, fix)


def replace_counts(config: Any, keys: Sequence[str], old: int, new: int, path: str = '') -> None:
    """Change a number of classes in a config, in place, wherever one of the keys has it.

    Args:
        config: Config of a host, or a part of it.
        keys (Sequence[str]): ``model.head.count_keys``.
        old (int): The number that is replaced.
        new (int): The number that takes its place.
        path (str): Where the part lies.
    """
    if isinstance(config, dict):
        for key, value in config.items():
            inner = f'{path}.{key}' if path else str(key)
            if _is_under(inner, keys) and value == old:
                config[key] = new
            else:
                replace_counts(value, keys, old, new, inner)
    elif isinstance(config, (list, tuple)):
        for value in config:
            replace_counts(value, keys, old, new, path)


def _is_under(path: str, keys: Sequence[str]) -> bool:
    return any(not key or path == key or path.endswith(f'.{key}') for key in keys)
