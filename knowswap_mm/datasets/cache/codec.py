"""Samples as bytes, and back, without running what is in the bytes."""

from __future__ import annotations

import io
import pickle
import struct
from typing import Any

import numpy as np
import torch

from knowswap_mm.datasets.cache.pack_file import ALIGN, aligned
from knowswap_mm.io.pickles import check_pickle


class NotStorable(TypeError):
    """A value that cannot be kept: of an unknown class, or not on the CPU."""


#: Classes of the hosts that may stand in a sample; their contents are arrays and plain values.
_CLASSES = {
    ('mmdet.structures.bbox.horizontal_boxes', 'HorizontalBoxes'),
    ('mmdet.structures.mask.structures', 'BitmapMasks'),
    ('mmdet.structures.mask.structures', 'PolygonMasks'),
}
_LENGTH = struct.Struct('<Q')


class _Writer(pickle.Pickler):
    """Puts arrays and tensors aside and refuses what :class:`_Reader` would not read."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)
        self.arrays: list[np.ndarray] = []
        self._offset = 0
        self._seen: dict[int, tuple[Any, tuple]] = {}

    def persistent_id(self, value: Any) -> tuple | None:
        if isinstance(value, np.generic):
            return ('scalar', value.dtype.str, value.tobytes())
        if type(value) is torch.Tensor:
            if value.layout is not torch.strided or value.device.type != 'cpu':
                raise NotStorable(f'a tensor on {value.device}')
            return self._put('tensor', value, value.detach().numpy())
        if type(value) is np.ndarray:
            return self._put('array', value, value)
        return None

    def _put(self, kind: str, value: Any, array: np.ndarray) -> tuple:
        if id(value) in self._seen:  # the same array under two names stays the same
            return self._seen[id(value)][1]
        if array.dtype.kind not in 'biufc':
            raise NotStorable(f'an array of {array.dtype}')
        turned = array.flags.f_contiguous and not array.flags.c_contiguous
        array = np.ascontiguousarray(array.T if turned else array).reshape(
            array.shape[::-1] if turned else array.shape
        )
        place = (kind, len(self.arrays), array.dtype.str, array.shape, turned, self._offset)
        self.arrays.append(array)
        self._offset += aligned(array.nbytes)
        self._seen[id(value)] = (value, place)  # the value is held: its id must not be given away
        return place

    def reducer_override(self, value: Any) -> Any:
        kind = value if isinstance(value, type) else type(value)
        if (kind.__module__, kind.__qualname__) in _CLASSES:
            return NotImplemented
        raise NotStorable(f'a value of {kind.__module__}.{kind.__qualname__}')


class _Reader(pickle.Unpickler):
    """Knows plain values, arrays and the classes above, and nothing that runs code."""

    def __init__(self, file: io.BytesIO, data: np.ndarray) -> None:
        super().__init__(file)
        self._data = data
        self._seen: dict[int, Any] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _CLASSES:
            raise pickle.UnpicklingError(f'{module}.{name} is no part of a sample')
        return super().find_class(module, name)

    def persistent_load(self, place: tuple) -> Any:
        if place[0] == 'scalar':
            return np.frombuffer(place[2], place[1])[0]
        kind, number, dtype, shape, turned, offset = place
        if number not in self._seen:
            if offset < 0 or any(side < 0 for side in shape):
                raise pickle.UnpicklingError(f'an array of shape {shape} at {offset}')
            dtype = np.dtype(dtype)
            count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            array = self._data[offset : offset + count].view(dtype).reshape(shape)
            array = array.T if turned else array
            self._seen[number] = torch.from_numpy(array) if kind == 'tensor' else array
        return self._seen[number]


def encode(value: Any) -> bytes:
    """Write a value as bytes.

    Args:
        value: Dicts, lists, tuples, plain values, arrays, tensors, and boxes and masks of mmdet.

    Returns:
        bytes: The value; arrays begin at multiples of 64 in it.

    Raises:
        NotStorable: If it holds anything else.
    """
    file = io.BytesIO()
    writer = _Writer(file)
    try:
        writer.dump(value)
    except (pickle.PicklingError, AttributeError) as error:
        raise NotStorable(str(error)) from error
    plain = file.getvalue()
    parts = [_LENGTH.pack(len(plain)), plain, bytes(-(_LENGTH.size + len(plain)) % ALIGN)]
    for array in writer.arrays:
        parts += [array.data if array.nbytes else b'', bytes(-array.nbytes % ALIGN)]
    return b''.join(parts)


def decode(data: np.ndarray) -> Any:
    """Read what :func:`encode` wrote; arrays of the value are views on the bytes.

    Raises:
        pickle.UnpicklingError: If it was something else.
        ValueError: If it is cut off.
    """
    (length,) = _LENGTH.unpack_from(data)
    start = aligned(_LENGTH.size + length)
    plain = data[_LENGTH.size : _LENGTH.size + length].tobytes()
    check_pickle(plain)
    return _Reader(io.BytesIO(plain), data[start:]).load()
