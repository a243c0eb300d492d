"""What is read of a host's config, and changed in it, before the host is built."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mmengine.logging import print_log
from mmengine.model.weight_init import PretrainedInit
from mmengine.registry import WEIGHT_INITIALIZERS

from knowswap_mm.errors import ConfigError

#: Keys under which a config names weights. Numbers, and flags such as ``use_checkpoint``, are left.
_WEIGHT_KEY = re.compile(
    r'(^|_)(pretrained|checkpoint|ckpt|load_from)(_(file|path|url|name))?$'
    r'|^weights$|(^|_)weights?_(file|path|url)$'
)
_LIKE_A_COUNT = re.compile(r'.*(class|categor|thing|stuff|label).*')
_INITIALISATIONS = ('init_cfg', 'override')


def without_pretrained(config: Any) -> Any:
    """Copy a config without the keys that would load or download weights.

    A swap loads the whole host from ``load_from``, strictly; a part's own pretrained file would be
    fetched from the network, read by the engine's loader, and overwritten a moment later. Such keys
    are ``pretrained``, ``checkpoint``, ``teacher_ckpt`` and their like that hold a string,
    and every ``init_cfg`` that names a file or asks for mmengine's ``PretrainedInit``, however it
    is spelled (issue 24).

    In the copy a key that named weights is None; an initialisation of other layers stays.
    """
    return _copy(config, '', [])


def set_aside_pretrained(config: Any, key: str) -> Any:
    """:func:`without_pretrained`, and a line in the log of what under ``key`` was set aside."""
    found: list[str] = []
    copied = _copy(config, key, found)
    if found:
        names = ', '.join(dict.fromkeys(found))
        print_log(
            f'Set aside, as it names weights: {names}. Nothing is read or fetched for it; all '
            'weights of the host come from load_from.',
            logger='current',
        )
    return copied


def _copy(config: Any, key: str, found: list[str]) -> Any:
    if isinstance(config, dict):
        kept = {name: _value(name, each, f'{key}.{name}', found) for name, each in config.items()}
        return type(config)(kept)  # hosts may read a ConfigDict by attribute
    if isinstance(config, (list, tuple)):
        return type(config)(_copy(each, f'{key}.{i}', found) for i, each in enumerate(config))
    return config


def _value(name: Any, value: Any, key: str, found: list[str]) -> Any:
    if name in _INITIALISATIONS:
        return _initialisation(value, key, found)
    if isinstance(name, str) and _WEIGHT_KEY.search(name):
        if value is True and name == 'pretrained':  # timm's and Hugging Face's switch
            found.append(key)
            return False
        if isinstance(value, (str, os.PathLike)):
            found.append(key)
            return None
    return _copy(value, key, found)


def _initialisation(value: Any, key: str, found: list[str]) -> Any:
    """An ``init_cfg``: a dict, a list of them, or something that no initialisation is."""
    if isinstance(value, (list, tuple)):
        kept = [_initialisation(each, f'{key}.{i}', found) for i, each in enumerate(value)]
        kept = [each for each in kept if each is not None]
        return type(value)(kept) or None
    if isinstance(value, (str, os.PathLike)) or (isinstance(value, dict) and _names_file(value)):
        found.append(key)
        return None
    return _copy(value, key, found)


def _names_file(init_cfg: dict[str, Any]) -> bool:
    kind = init_cfg.get('type')
    if any(isinstance(name, str) and _WEIGHT_KEY.search(name) for name in init_cfg):
        return True
    if 'pretrained' in str(kind).lower():  # 'Pretrained', mmseg's 'Pretrained_Part', a class
        return True
    if isinstance(kind, str):  # under a name of its own
        kind = WEIGHT_INITIALIZERS.get(kind)
    return isinstance(kind, type) and issubclass(kind, PretrainedInit)


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
    """The number of classes of a host, which its config has under ``model.head.count_keys``.

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


def replace_counts(config: Any, keys: Sequence[str], old: int, new: int) -> None:
    """Change a number of classes in place, wherever a config has it under one of the keys."""
    change_values(config, lambda path, v: new if _is_under(path, keys) and v == old else v)


def change_values(config: Any, change: Callable[[str, Any], Any], path: str = '') -> None:
    """Change values of a config in place, at any depth.

    Args:
        config: Config of a host, or a part of it.
        change (Callable): Gives the new value for a path and a value; the same one to go on inside.
        path (str): Where the part lies.
    """
    if isinstance(config, dict):
        for key, value in config.items():
            inner = f'{path}.{key}' if path else str(key)
            config[key] = change(inner, value)
            if config[key] is value:
                change_values(value, change, inner)
    elif isinstance(config, (list, tuple)):
        for value in config:
            change_values(value, change, path)


def _is_under(path: str, keys: Sequence[str]) -> bool:
    return any(not key or path == key or path.endswith(f'.{key}') for key in keys)
