"""Configs as the commands of this package open them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from knowswap_mm.engine.data_only_loader import use_data_only_loader
from knowswap_mm.errors import ConfigError
from knowswap_mm.registry import name_types

_SUFFIXES = ('.py', '.json', '.yaml', '.yml')


def open_config(path: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Read a config; from then on mmengine reads weight files as data only.

    A config is a program: it is executed, and must be yours or of somebody whom you trust.

    Args:
        path (str | Path): The file.
        options (Mapping | None): Overrides by dotted key, from ``--cfg-options``.

    Returns:
        Config: The config.

    Raises:
        ConfigError: If there is no such file, or it cannot be read.
    """
    use_data_only_loader()
    path = Path(path)
    if not os.path.isfile(path):
        fix = 'give the path of a config file'
        raise ConfigError('config', str(path), 'there is no config file of that name', fix)
    if path.suffix not in _SUFFIXES:
        raise ConfigError('config', str(path), 'is no config', f'its name ends in {_SUFFIXES}')
    try:
        config = Config.fromfile(str(path))
    except Exception as error:  # a config is a program, which may fail in any way
        reason = f'{type(error).__name__}: {error}'.splitlines()[0][:300]
        fix = 'mend the file, or the one that it names in _base_'
        raise ConfigError('config', str(path), f'cannot be read ({reason})', fix) from error
    override(config, options or {})
    return name_types(config)


def check_place(key: str, path: str | Path, folder: bool = False) -> None:
    """Find out before the work begins that its result cannot be put down.

    Args:
        key (str): The option that names the place.
        path (str | Path): A file or folder to be.
        folder (bool): Whether it is a folder.

    Raises:
        ConfigError: If a file is where a folder must be, or the other way round.
    """
    path = Path(path)
    if path.is_dir() and not folder:
        raise ConfigError(key, str(path), 'is a folder', 'give the name of a file')
    above = path if folder else path.parent
    while not above.exists():
        above = above.parent
    if not above.is_dir():
        raise ConfigError(key, str(path), f'{above} is no folder', 'give another place')


def override(config: Config, options: Mapping[str, Any]) -> None:
    """Put the overrides of a command line into a config.

    Args:
        config (Config): The config, which is changed.
        options (Mapping): Values by dotted key.

    Raises:
        ConfigError: If a key leads to no place in it.
    """
    for key, value in options.items():
        try:
            config.merge_from_dict({key: value})
        except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
            reason = f'leads to no place in the config ({type(error).__name__}: {error})'
            fix = 'write the key as it stands in the config, with the numbers of list entries'
            raise ConfigError(f'--cfg-options {key}', value, reason, fix) from error
