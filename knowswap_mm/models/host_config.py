"""What happens to a host's config before it is built."""

from __future__ import annotations

import os
import re
from typing import Any

from mmengine.logging import print_log
from mmengine.model.weight_init import PretrainedInit
from mmengine.registry import WEIGHT_INITIALIZERS

#: Keys under which a config names weights. Numbers, and flags such as ``use_checkpoint``, are left.
_WEIGHT_KEY = re.compile(
    r'(^|_)(pretrained|checkpoint|ckpt|load_from)(_(file|path|url|name))?$'
    r'|^weights$|(^|_)weights?_(file|path|url)$'
)
_INITIALISATIONS = ('init_cfg', 'override')


def without_pretrained(config: Any) -> Any:
    """Copy a config without the keys that would load or download weights.

    A swap loads the whole host from ``load_from``, strictly; a part's own pretrained file would be
    fetched from the network, read by the engine's loader, and overwritten a moment later. Such keys
    are ``pretrained``, ``checkpoint``, ``teacher_ckpt`` and their like with a text as their value,
    and every ``init_cfg`` that names a file or asks for mmengine's ``PretrainedInit``, however it
    is spelled (issue 24).

    Args:
        config: Config of a host, or a part of it.

    Returns:
        The copy; a key that named weights is None, and an initialisation of other layers beside it
        stays.
    """
    return _copy(config, '', [])


def set_aside_pretrained(config: Any, key: str) -> Any:
    """:func:`without_pretrained`, and one line in the log that says what was set aside.

    Args:
        config: Config of a host.
        key (str): Where the config has it, for the message.
    """
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
