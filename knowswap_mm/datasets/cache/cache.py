"""The cache of a role data set."""

from __future__ import annotations

import hashlib
import inspect
import itertools
import os
import re
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmengine.logging import print_log
from mmengine.registry import TRANSFORMS

from knowswap_mm.checks import check_choice, check_keys, check_mapping, check_texts
from knowswap_mm.datasets.cache.pack_file import PackFile
from knowswap_mm.datasets.cache.pipeline import (
    CachedPipeline,
    count_leading,
    fingerprint,
    is_declared,
)
from knowswap_mm.datasets.cache.places import DiskFile, MemoryFile
from knowswap_mm.datasets.role_view import RoleView
from knowswap_mm.errors import ConfigError
from knowswap_mm.io.files import cache_folder

_KEY = 'dataset.cache'
_UNITS = dict(KB=10**3, MB=10**6, GB=10**9, TB=10**12, KiB=2**10, MiB=2**20, GiB=2**30, TiB=2**40)
_SIZE = re.compile(rf'([0-9]+(?:\.[0-9]+)?) *({"|".join(_UNITS)})')
PLACES = ('memory', 'disk')


class SampleCache:
    """Keeps the results of the first, deterministic steps of the host's pipelines.

    All processes of a host that read the same data through the same steps share what is kept:
    workers, ranks, other runs. Samples are the same with and without it, bit by bit.

    Args:
        size (str | int): How much is kept at most: bytes, or e.g. ``'4GB'`` or ``'500MiB'``.
        where (str): ``memory`` ends with the last process that uses it, ``disk`` is there for the
            next run.
        folder (str | None): Folder of ``disk``; by default ``pictures`` in :func:`cache_folder`.
        deterministic (Sequence[str]): Types of more transforms whose result is a function of the
            record and the files that it names (fields ``*_path``).

    Raises:
        ConfigError: If an option cannot be used.
    """

    #: Files that are open in this process.
    _packs: weakref.WeakValueDictionary[str, PackFile] = weakref.WeakValueDictionary()

    def __init__(
        self,
        size: str | int = '4GB',
        where: str = 'memory',
        folder: str | None = None,
        deterministic: Sequence[str] = (),
    ) -> None:
        check_choice(f'{_KEY}.where', where, PLACES, 'place')
        if where == 'memory' and folder is not None:
            fix = "leave it out, or set where='disk'"
            raise ConfigError(f'{_KEY}.folder', folder, 'memory has no folder', fix)
        if where == 'memory' and not hasattr(os, 'memfd_create'):
            problem = 'this system has no files in memory'
            raise ConfigError(f'{_KEY}.where', where, problem, "set it to 'disk'")
        self.size, self.where = _bytes(size), where
        self.folder = cache_folder(folder) if folder else cache_folder() / 'pictures'
        self.declared = _classes(deterministic)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SampleCache:
        """Build it from the field ``cache`` of a data set.

        Raises:
            ConfigError: If the field is no dict of known options.
        """
        check_mapping(_KEY, config, "dict(size='4GB', where='memory')")
        check_keys(_KEY, config, inspect.signature(cls).parameters)
        return cls(**config)

    def attach(self, views: Iterable[RoleView]) -> None:
        """Let role views load through the cache.

        Raises:
            ConfigError: If the folder cannot be written.
        """
        found = {}
        for view in views:
            steps = self._leading(view)
            if steps:
                configs = view.dataset['pipeline'][: len(steps)]
                found[view] = (steps, fingerprint(steps, configs))
            else:
                print_log(f'{view.key}: no step of its pipeline can be kept.', logger='current')
        if not found:
            return
        pack = self._open(sorted({name for _, name in found.values()}))
        for view, (steps, name) in found.items():
            declared = any(is_declared(step, self.declared) for step in steps)
            every = view.host.pipeline.transforms
            view.cached_pipeline = CachedPipeline(
                every, len(steps), pack, name, declared, view.image_check
            )
            kept = ', '.join(type(step).__name__ for step in steps)
            text = f'{view.key}: results of {kept} are kept ({self.where}, '
            print_log(f'{text}at most {self.size / 1e9:g} GB).', logger='current')

    def _leading(self, view: RoleView) -> list[Any]:
        """The steps of a view that can be kept."""
        steps = getattr(getattr(view.host, 'pipeline', None), 'transforms', [])
        configs = view.dataset.get('pipeline') or []
        if len(steps) != len(configs):  # the host made something else of its config
            return []
        # What a step without a config does cannot be told.
        told = sum(1 for _ in itertools.takewhile(lambda c: isinstance(c, Mapping), configs))
        return steps[: count_leading(steps[:told], self.declared)]

    def _open(self, names: Sequence[str]) -> PackFile:
        """The file for steps of these names; data sets with the same steps share it."""
        name = names[0] if len(names) == 1 else hashlib.sha256(repr(names).encode()).hexdigest()
        name = name[:20]
        key = f'{self.where} {self.folder} {name}'
        pack = self._packs.get(key)
        if pack is None:
            try:
                if self.where == 'memory':
                    storage = MemoryFile(name)
                else:
                    storage = DiskFile(self.folder, name, self.size)
                pack = self._packs[key] = PackFile(storage, self.size)
            except OSError as error:
                problem = f'kept samples cannot be written there ({error})'
                if self.where == 'memory':
                    fix = "set it to 'disk'"
                    raise ConfigError(f'{_KEY}.where', 'memory', problem, fix) from error
                fix = 'give a folder that can be written, or none'
                raise ConfigError(f'{_KEY}.folder', str(self.folder), problem, fix) from error
        pack.allow(self.size)
        return pack


def _bytes(size: str | int) -> int:
    match = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if match:
        size = int(float(match[1]) * _UNITS[match[2]])
    if type(size) is not int or size <= 0:
        fix = f"e.g. '4GB' (units: {', '.join(_UNITS)}), or bytes"
        raise ConfigError(f'{_KEY}.size', size, 'no size', fix)
    return size


def _classes(names: Sequence[str]) -> tuple[type, ...]:
    check_texts(f'{_KEY}.deterministic', names, 'MyResize')
    found = [TRANSFORMS.get(name) for name in names]
    for name, kind in zip(names, found, strict=True):
        if not inspect.isclass(kind):
            fix = 'write it as in the pipeline, and import its module (custom_imports)'
            raise ConfigError(f'{_KEY}.deterministic', name, 'unknown transform', fix)
    return tuple(found)
