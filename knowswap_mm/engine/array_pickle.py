"""Reads the array files of detectron2 without running what is in them."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from knowswap_mm.engine.plain_contents import check_contents
from knowswap_mm.pickle_check import check_pickle

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

    Args:
        path (Path): A file.
        map_location: Device of the tensors.

    Raises:
        pickle.UnpicklingError: If it holds anything else.
        ValueError: If it is cut off, or holds more than a file of its size can.
        EOFError: If it is cut off.
    """
    return _tensors(arrays_of(path.read_bytes()), map_location)


def arrays_of(content: bytes) -> Any:
    """Read a pickle of arrays in dicts and lists.

    Args:
        content (bytes): The pickle.

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
