"""A host's pipeline whose first steps are done once an image."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import pickle
import random
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import cv2
import mmcv
import numpy as np
import PIL
import torch
from mmcv.transforms import BaseTransform

from knowswap_mm.datasets.cache.codec import NotStorable, decode, encode
from knowswap_mm.datasets.cache.pack_file import PackFile, warn_once
from knowswap_mm.errors import ConfigError

#: By library and class; a subclass is not meant. Packing is left out because what it makes is new
#: each time, ``Normalize`` because floats take four times the room and cost less than reading them.
_KNOWN = dict(
    mmcv='CenterCrop LoadAnnotations LoadImageFromFile Pad Resize',
    mmdet=(
        'FilterAnnotations FixScaleResize FixShapeResize LoadAnnotations LoadEmptyAnnotations '
        'LoadPanopticAnnotations Pad Resize ResizeShortestEdge SegRescale'
    ),
    mmpretrain='EfficientNetCenterCrop ResizeEdge',
    mmseg=(
        'AdjustGamma CLAHE LoadAnnotations LoadImageFromNpyFile Rerange Resize ResizeShortestEdge '
        'ResizeToMultiple RGB2Gray SegRescale'
    ),
)
KNOWN = frozenset(f'{library}.{name}' for library in _KNOWN for name in _KNOWN[library].split())
#: Changes whenever kept samples of earlier versions must not be used.
_FORMAT = 1


def count_leading(steps: Iterable[Any], more: Iterable[type] = ()) -> int:
    """How many steps at the beginning are of classes in :data:`KNOWN` or ``more``.

    Returns:
        int: Steps before the first one that is not known to be.
    """
    count, more = 0, tuple(more)
    for step in steps:
        if not _is_deterministic(step, more):
            break
        count += 1
    return count


def is_declared(step: Any, more: Iterable[type]) -> bool:
    """Whether a step counts as deterministic only because the config says so."""
    return type(step) in tuple(more) and _name(type(step)) not in KNOWN


def fingerprint(steps: Iterable[Any], configs: Iterable[Mapping[str, Any]]) -> str:
    """A name for what some steps do.

    Returns:
        str: Changes with the configs, the code of the steps and the versions of the libraries.
    """
    libraries = {module: module.__version__ for module in (cv2, mmcv, np, PIL)}
    content: list[Any] = [_FORMAT, sorted((m.__name__, v) for m, v in libraries.items())]
    for step, config in zip(steps, configs, strict=True):
        kind = type(step)
        package = sys.modules.get(kind.__module__.partition('.')[0])
        try:
            code = inspect.getsource(kind)
        except (OSError, TypeError):  # made in a console, or compiled
            code = ''
        version = str(getattr(package, '__version__', ''))
        content.append([kind.__module__, kind.__qualname__, version, code, config])
    text = json.dumps(content, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _is_deterministic(step: Any, more: tuple[type, ...]) -> bool:
    if type(step) not in more and _name(type(step)) not in KNOWN:
        return False
    inner = [value for value in vars(step).values() if isinstance(value, BaseTransform)]
    return all(_is_deterministic(part, more) for part in inner)


def _name(kind: type) -> str:
    return f'{kind.__module__.partition(".")[0]}.{kind.__name__}'


#: Fields of a record that no known step looks at, and that differ between roles and swaps.
_NOT_READ = frozenset({'gt_label', 'sample_idx'})


class CachedPipeline:
    """Runs steps, and keeps what the first ones made of a record.

    Kept are the fields that these steps added or changed, so that the record itself, with its
    label, is always the present one. Every call gets arrays of its own: a later step may write
    into them. The random steps behind see the same random numbers as without, because the kept
    ones draw none.

    Args:
        steps (Sequence): All steps of the pipeline.
        count (int): How many of them, from the first on, are kept.
        pack (PackFile): Where their results are kept.
        name (str): What these steps do, see :func:`fingerprint`.
        declared (bool): Whether the config vouches for one of these steps. Then they are watched
            for random numbers, and the whole record tells their result.
        check (Callable): Looks at a record before its files are opened, and may raise an error.
    """

    def __init__(
        self,
        steps: Sequence[Any],
        count: int,
        pack: PackFile,
        name: str,
        declared: bool = False,
        check: Callable[[dict[str, Any]], None] = lambda data_info: None,
    ) -> None:
        self.check = check
        self.kept_steps, self.other_steps = list(steps[:count]), list(steps[count:])
        self.pack, self.name, self.declared = pack, name, declared
        self._keys: dict[int, bytes] = {}
        self._storable = True

    def __call__(self, data_info: dict[str, Any], number: int) -> dict[str, Any] | None:
        """Run the pipeline.

        Args:
            data_info (dict): A record of the host data set.
            number (int): The record's number: each number stands for the same record always.

        Returns:
            dict | None: What the pipeline gives.

        Raises:
            ConfigError: If a step that the config calls deterministic draws random numbers.
        """
        results = self._begin(data_info, number)
        return None if results is None else _run(self.other_steps, results)

    def _begin(self, data_info: dict[str, Any], number: int) -> dict[str, Any] | None:
        key = self._keys.get(number)
        if key is None:
            key = self._key(data_info) if self._storable else None
            if key is None:
                return self._make(data_info)
            self._keys[number] = key
        data = self.pack.get(key)
        if data is not None:
            try:
                changed, removed = decode(data)
            except Exception:  # bytes with a good checksum, written by something else
                changed = removed = None
            if isinstance(changed, dict) and isinstance(removed, list):
                data_info.update(changed)
                for name in removed:
                    data_info.pop(name, None)
                return data_info
        return self._keep(data_info, key)

    def _keep(self, data_info: dict[str, Any], key: bytes) -> dict[str, Any] | None:
        before = {name: _frozen(value) for name, value in data_info.items()}
        state = _random_state() if self.declared else None
        results = self._make(data_info)
        if self.declared and _random_state() != state:
            names = [type(step).__name__ for step in self.kept_steps]
            fix = 'take the step that does so out of the list'
            problem = f'one of the steps {names} draws random numbers'
            raise ConfigError('dataset.cache.deterministic', names, problem, fix)
        if results is None or not self._storable:  # nothing to keep of a record that is left out
            return results
        changed = {
            name: value
            for name, value in results.items()
            if name not in before or before[name] is None or before[name] != _frozen(value)
        }
        removed = [name for name in before if name not in results]
        try:
            self.pack.put(key, encode((changed, removed)))
        except NotStorable as error:
            self._give_up(str(error))
        return results

    def _make(self, data_info: dict[str, Any]) -> dict[str, Any] | None:
        """What the kept steps make of a record, whose files are looked at before."""
        self.check(data_info)
        return _run(self.kept_steps, data_info)

    def _key(self, data_info: dict[str, Any]) -> bytes | None:
        """Tells the result of the kept steps: their configs, the record, the files it names."""
        left_out = () if self.declared else _NOT_READ
        record = {name: value for name, value in data_info.items() if name not in left_out}
        files = []
        try:
            for name, value in record.items():
                if name.endswith('_path') and isinstance(value, str):
                    state = os.stat(value)
                    files.append([os.path.abspath(value), state.st_size, state.st_mtime_ns])
        except OSError:  # missing, which its loader tells, or in a remote storage
            return None
        try:
            text = json.dumps([self.name, files, record], default=_plain)
        except (TypeError, ValueError) as error:
            return self._give_up(str(error))
        return hashlib.blake2b(text.encode(), digest_size=16).digest()

    def _give_up(self, problem: str) -> None:
        self._storable = False
        self._keys.clear()
        names = [type(step).__name__ for step in self.kept_steps]
        warn_once(f'dataset.cache: results of {names} are not kept: {problem} cannot be stored.')


def _run(steps: Sequence[Any], results: dict[str, Any]) -> dict[str, Any] | None:
    for step in steps:
        results = step(results)
        if results is None:
            return None
    return results


def _frozen(value: Any) -> bytes | None:
    """Bytes that change when a value does; None if it has none."""
    try:
        return pickle.dumps(value, protocol=5)
    except Exception:  # a value may refuse in any way
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in 'biufcSU':
        digest = hashlib.blake2b(np.ascontiguousarray(value)).hexdigest()
        return [value.dtype.str, list(value.shape), digest]
    raise TypeError(f'a record with a value of {type(value).__qualname__}')


def _random_state() -> tuple:
    numpy_state = np.random.get_state()
    torch_state = torch.get_rng_state().numpy().tobytes()
    return random.getstate(), numpy_state[1].tobytes(), numpy_state[2:], torch_state
