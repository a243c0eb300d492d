"""Reads the array files of detectron2 without running what is in them."""

from __future__ import annotations

import io
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

_PUTS = ('PUT', 'BINPUT', 'LONG_BINPUT')
_EXTENSIONS = ('EXT1', 'EXT2', 'EXT4')


def check_pickle(content: bytes) -> None:
    """Refuse a pickle that Python would need far more memory for than the file has bytes.

    A memo is as large as its highest number, which a file of eight bytes may set to four
    billion. Nothing is built here, and nothing is executed.

    Raises:
        pickle.UnpicklingError: If it does that, or refers to the registry of extensions.
        ValueError: If it is cut off or no pickle.
    """
    for opcode, argument, position in pickletools.genops(io.BytesIO(content)):
        if opcode.name in _PUTS and int(argument) > position:
            raise pickle.UnpicklingError(f'memo number {argument} at byte {position}')
        if opcode.name in _EXTENSIONS:
            raise pickle.UnpicklingError(f'extension {argument} is no data')


_DEPTH = 100
#: Values that a checkpoint may hold if references are followed: a thousand classes and ten
#: thousand tensors are far below.
_VALUES = 50_000_000
_LISTS = (list, tuple, set, frozenset)
_ARRAYS = (torch.Tensor, np.ndarray)


def check_contents(content: Any, size: int) -> None:
    """Refuse contents that only look small: whoever walks through them or copies them would fail.

    A few bytes of a pickle can describe a tensor that repeats one number a billion times, lists
    within lists that hold each other ten times over, or a list that holds itself.

    Args:
        content: What was read: dicts, lists, arrays, tensors and plain values.
        size (int): Bytes of the file.

    Raises:
        ValueError: If it holds itself, is nested too deeply, or has more than fits into the file.
    """
    expanded: dict[int, int] = {}  # of what was walked through, its number of values
    path: list[tuple[Any, list[Any], Iterator[Any]]] = []
    _enter(content, path, size)
    inside = {id(content)}
    while path:
        value, children, left = path[-1]
        for child in left:
            key = id(child)
            if key in inside:
                raise ValueError('it holds itself')
            if key not in expanded:
                inside.add(key)
                _enter(child, path, size)
                break
        else:
            path.pop()
            inside.discard(id(value))
            total = 1 + sum(expanded[id(child)] for child in children)
            if total > _VALUES:
                raise ValueError(f'it describes more than {_VALUES} values')
            expanded[id(value)] = total


def _enter(value: Any, path: list[tuple[Any, list[Any], Iterator[Any]]], size: int) -> None:
    if len(path) >= _DEPTH:
        raise ValueError(f'it is nested more than {_DEPTH} deep')
    _check_size(value, size)
    children = _children(value)
    path.append((value, children, iter(children)))


def _children(value: Any) -> list[Any]:
    """What else must be walked through; numbers and strings are as small as they look."""
    if isinstance(value, _ARRAYS):
        return []
    if isinstance(value, Mapping):
        return [each for each in value.values() if _is_walked(each)]
    if isinstance(value, _LISTS):
        return [each for each in value if _is_walked(each)]
    return [each for each in vars(value).values() if _is_walked(each)]


def _is_walked(value: Any) -> bool:
    plain = isinstance(value, (Mapping, *_LISTS, *_ARRAYS))
    return plain or (hasattr(value, '__dict__') and not isinstance(value, type))


def _check_size(value: Any, size: int) -> None:
    if isinstance(value, torch.Tensor):
        if value.layout is not torch.strided or value.is_quantized or value.is_meta:
            raise ValueError(f'it holds a tensor that is not plain ({value.layout})')
        taken = max(value.numel() * value.element_size(), value.untyped_storage().nbytes())
    elif isinstance(value, np.ndarray):
        taken = value.nbytes
    else:
        return
    if taken > size:
        raise ValueError(f'it describes an array of {taken} bytes in a file of {size}')


_ARRAY, _SCALAR = np.empty(0).__reduce__()[0], np.float64().__reduce__()[0]
#: Stands in for the class of arrays: called, that would make an array of any size.
_ARRAY_CLASS = 'numpy.ndarray'


def _empty_array(kind: Any, shape: tuple[int, ...], code: bytes) -> np.ndarray:
    """The array without values with which numpy begins; its shape and values follow."""
    if kind != _ARRAY_CLASS or shape != (0,):
        raise pickle.UnpicklingError(f'an array of shape {shape!r:.80} without values')
    return _ARRAY(np.ndarray, shape, code)


_KNOWN = {
    ('collections', 'OrderedDict'): OrderedDict,
    ('numpy', 'dtype'): np.dtype,
    ('numpy', 'ndarray'): _ARRAY_CLASS,
    **{
        (f'numpy.{core}.multiarray', name): value
        for core in ('core', '_core')
        for name, value in (('_reconstruct', _empty_array), ('scalar', _SCALAR))
    },
}


class _ArrayUnpickler(pickle.Unpickler):
    """Knows arrays and nothing that runs code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ('_codecs', 'encode'):
            return _encode
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f'{module}.{name} is no array') from None


def _encode(text: str, encoding: str) -> bytes:
    """The bytes of an array as Python 2 stored them."""
    if encoding != 'latin1':
        raise pickle.UnpicklingError(f'bytes in {encoding!r}')
    return text.encode('latin1')


def read_arrays(path: Path, map_location: Any = 'cpu') -> Any:
    """Read a pickle of arrays in dicts and lists, the arrays as tensors.

    Raises:
        pickle.UnpicklingError: If it holds anything else.
        ValueError: If it is cut off, or holds more than a file of its size can.
        EOFError: If it is cut off.
    """
    return _tensors(arrays_of(path.read_bytes()), map_location)


def arrays_of(content: bytes) -> Any:
    """Read a pickle of arrays in dicts and lists.

    Raises:
        Exception: As :func:`read_arrays`.
    """
    check_pickle(content)
    try:
        found = _ArrayUnpickler(io.BytesIO(content), encoding='latin1').load()
    except pickle.UnpicklingError as error:
        if 'truncated' in str(error):
            raise EOFError(str(error)) from error
        raise
    check_contents(found, len(content))
    return found


def _tensors(value: Any, device: Any) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in 'biuf':
            raise pickle.UnpicklingError(f'an array of {value.dtype}')
        return torch.from_numpy(value.copy()).to(device)
    if isinstance(value, dict):
        return {key: _tensors(each, device) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_tensors(each, device) for each in value)
    return value
