"""Reads the array files of detectron2 without running what is in them."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch

_ARRAY, _SCALAR = np.empty(0).__reduce__()[0], np.float64().__reduce__()[0]
_KNOWN = {
    ('collections', 'OrderedDict'): OrderedDict,
    ('numpy', 'dtype'): np.dtype,
    ('numpy', 'ndarray'): np.ndarray,
    **{
        (f'numpy.{core}.multiarray', name): value
        for core in ('core', '_core')
        for name, value in (('_reconstruct', _ARRAY), ('scalar', _SCALAR))
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
        EOFError: If it is cut off.
    """
    with path.open('rb') as file:
        try:
            content = _ArrayUnpickler(file, encoding='latin1').load()
        except pickle.UnpicklingError as error:
            if 'truncated' in str(error):
                raise EOFError(str(error)) from error
            raise
    return _tensors(content, map_location)


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
