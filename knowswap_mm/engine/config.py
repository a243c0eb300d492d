"""Configs as commands open them and as the runner completes them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, DefaultScope
from mmengine.utils import import_modules_from_strings

from knowswap_mm.compat import resolve_bases
from knowswap_mm.console import import_quietly
from knowswap_mm.engine.guard.options import GuardOptions
from knowswap_mm.engine.hooks.nonfinite import nonfinite_settings
from knowswap_mm.engine.recipe import settle
from knowswap_mm.errors import ConfigError, SwapError, reason_of
from knowswap_mm.installation import (
    PREFIX,
    base_config,
    check_scope,
    leave_out_multimodal,
    quick_imports,
)
from knowswap_mm.io.checkpoints import use_data_only_loader
from knowswap_mm.io.config_text import value_text
from knowswap_mm.registry import MODELS as OWN_MODELS
from knowswap_mm.registry import class_of, name_types, type_name


class ReadableConfig(Config):
    """mmengine's ``Config``, whose text is written in milliseconds.

    The text is part of each checkpoint and of several files of a run. mmengine formats it with
    yapf, which takes seconds, as long as many steps.
    """

    @classmethod
    def adopt(cls, config: Config) -> Config:
        """Make a config one of this class, in place, and return it."""
        # A config takes what is set on it for a key of its own.
        object.__setattr__(config, '__class__', cls)
        return config

    @property
    def pretty_text(self) -> str:
        """The config as Python code."""
        items = self.to_dict().items()
        return ''.join(f'{key} = {value_text(value, len(key) + 3)}\n' for key, value in items)


def check_class_count(rows: Any, classes: Any) -> None:
    """Check that the rows of a head fit the classes by role.

    Raises:
        ConfigError: If the old classes are more or fewer, or the head has too few rows.
    """
    if rows.old != len(classes.old):
        fix = f'set model.head.old_classes = {len(classes.old)} or fix swap.classes.old'
        problem = f'swap.classes.old lists {len(classes.old)} classes'
        raise ConfigError('model.head.old_classes', rows.old, problem, fix)
    if rows.total < len(classes.names):
        fix = f'give the head of model.host num_classes = {len(classes.names)}'
        problem = f'there are {len(classes.names)} old and new classes'
        raise ConfigError('model.host', rows.total, problem, fix)


#: Default hooks of our configs that only look at a run.
_SEEING = ('block_profile', 'pictures', 'images', 'report')


def complete_hooks(cfg: Config) -> None:
    """Add to a config, in place, the hooks that a swap needs, and take away those set to None.

    Raises:
        ConfigError: If ``swap.nonfinite``, ``swap.guard`` or ``swap.holdout`` cannot be used.
    """
    hooks = list(cfg.get('custom_hooks') or [])
    settings = nonfinite_settings(cfg['swap'].get('nonfinite'))
    untrained = dict(action=cfg['swap'].get('untrained', 'stop'))
    added = dict(Phase={}, Nonfinite=settings, Untrained=untrained, Preemption={}, Stall={})
    if (options := GuardOptions.from_swap(cfg['swap'])) is not None:
        added['Guard'] = asdict(options)
    if (own := _hook_of_objective(cfg)) is not None:
        added[type_name(own).removesuffix('Hook')] = {}
    for name, arguments in added.items():
        kind = f'knowswap_mm.{name}Hook'
        if not any(hook['type'] == kind for hook in hooks):
            hooks.append(dict(arguments, type=kind))
    cfg['custom_hooks'] = hooks
    for name in _SEEING:  # None takes a hook away; mmengine knows that of its own hooks only
        if name in (given := cfg.get('default_hooks') or {}) and given[name] is None:
            del given[name]
    checkpoint = (cfg.get('default_hooks') or {}).get('checkpoint')
    if checkpoint and type_name(checkpoint.get('type')) == 'CheckpointHook':
        checkpoint['type'] = 'knowswap_mm.SwapCheckpointHook'


def _hook_of_objective(cfg: Config) -> str | None:
    model = cfg.get('model')
    loss = model.get('loss') if isinstance(model, Mapping) else None
    kind = class_of(loss.get('type'), OWN_MODELS) if isinstance(loss, Mapping) else None
    return getattr(kind, 'hook', None)


def build_model(path: str, adapters: list[Path] | None = None) -> tuple[torch.nn.Module, Config]:
    """The model of a config; `adapters` replace those beneath it."""
    cfg = settle(open_config(path))
    import_quietly(cfg.get('default_scope'))
    MMLogger.get_instance('model', log_level='ERROR')
    if adapters is not None:
        cfg.model.adapters = [str(folder) for folder in adapters]
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build(cfg.model), cfg


_SUFFIXES = ('.py', '.json', '.yaml', '.yml')
#: Names of weight files end so.
WEIGHTS = ('.pth', '.pt', '.bin', '.safetensors')


def prepare_libraries() -> None:
    """Set up what we need of the libraries before they read a config or build a part of one."""
    use_data_only_loader()
    leave_out_multimodal()
    resolve_bases(PREFIX, base_config)


def open_config(path: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Read a config; from then on mmengine reads weight files as data only.

    A config is a program: it is executed, and must be yours or of somebody whom you trust.

    Args:
        path (str | Path): The file.
        options (Mapping | None): Overrides by dotted key, from ``--cfg-options``.

    Raises:
        ConfigError: If there is no such file, it cannot be read, or its task is not installed.
    """
    prepare_libraries()
    path = Path(path)
    if not os.path.isfile(path):
        fix = 'give the path of a config file'
        if os.path.isdir(path) and (inside := sorted(path.glob('*.py'))):
            fix = f'give the one in this folder, {inside[-1]}'
        raise ConfigError('config', str(path), 'there is no config file of that name', fix)
    if path.suffix in WEIGHTS:
        fix = 'give the config here, and the checkpoint in its place'
        raise ConfigError('config', str(path), 'is no config but a file of weights', fix)
    if path.suffix not in _SUFFIXES:
        raise ConfigError('config', str(path), 'is no config', f'its name ends in {_SUFFIXES}')
    try:
        config = Config.fromfile(str(path), import_custom_modules=False)
        check_scope(config.get('default_scope'))
        if imports := config.get('custom_imports'):
            with quick_imports():
                import_modules_from_strings(**imports)
    except SwapError:
        raise
    except Exception as error:  # a config is a program, which may fail in any way
        fix = 'fix the file, or the one that it names in _base_'
        problem = f'cannot be read ({reason_of(error)})'
        raise ConfigError('config', str(path), problem, fix) from error
    override(config, options or {})
    return name_types(config)


def open_swap(path: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Open the config of a swap and settle it, where nothing is trained.

    Raises:
        ConfigError: If it describes no swap, as that of an export, and as :func:`open_config`.
    """
    config = open_config(path, options)
    if 'swap' not in config:
        fix = 'give the config of the swap, which is in the folder of its run'
        raise ConfigError('config', str(path), 'describes no swap', fix)
    return settle(config)


def check_place(key: str, path: str | Path, folder: bool = False) -> None:
    """Find out before the work begins that a result, file or folder, cannot be put down.

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
    """Put the overrides of a command line, values by dotted key, into a config.

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
