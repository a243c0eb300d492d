"""What was read from a file must not be larger than the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

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
    """What else must be walked through; numbers and texts are as small as they look."""
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
