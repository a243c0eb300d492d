"""What a manifest may say, value by value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any


def manifest_problems(data: Mapping[str, Any]) -> list[str]:
    """Everything in a manifest that is not of the kind it should be.

    Args:
        data (Mapping): The fields of an adapter's manifest; all of them are there.

    Returns:
        list[str]: A line for each field with another kind of value; empty if there is none.
    """
    return [
        f'{name!r} is {_shown(data[name])}, no {what}'
        for name, (what, fits) in _FIELDS.items()
        if not fits(data[name])
    ] + _class_problems(data)


def _class_problems(data: Mapping[str, Any]) -> list[str]:
    old, total = data['old_classes'], data['total_classes']
    if _is_count(old) and _is_count(total) and old > total:
        return [f"'old_classes' is {old}, more than 'total_classes', {total}"]
    return []


def _shown(value: Any) -> str:
    shown = f'{value!r:.60}' if isinstance(value, (str, int, float)) else type(value).__name__
    return f'a {shown}' if shown.isidentifier() else shown


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value < 2**31


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)


def _is_classes(value: Any) -> bool:
    return value is None or _is_count(value)


def _list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(fits, value))


def _dict_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(fits, value.values()))


def _is_phase(value: Any) -> bool:
    """An entry of the history, as far as a report reads it."""
    return (
        isinstance(value, dict)
        and {'name', 'kind', 'iterations', 'seed', 'metric'} <= set(value)
        and _dict_of(_is_metric)(value.get('groups'))
        and {'smallest', 'mean', 'largest', 'small', 'number'} <= set(value['groups'])
        and (value.get('bound', '') is None or _is_number(value.get('bound')))
        and _dict_of(_is_metric)(value.get('metrics'))
        and _dict_of(_is_number)(value.get('weights'))
    )


def _is_layout(value: Any) -> bool:
    """Axis, groups, rows a class, rows before and behind, see :class:`RowLayout`."""
    whole = isinstance(value, list) and len(value) == 5 and all(type(n) is int for n in value)
    return whole and all(0 <= n < 2**31 for n in value) and value[1] > 0 < value[2]


def _is_metric(value: Any) -> bool:
    """A figure; one that could not be measured is not a number."""
    return type(value) is float or (type(value) is int and abs(value) < 2**53)


_FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = dict(
    base_sha256=('text', _is_text),
    targets=('list of names', _list_of(_is_text)),
    rank=('whole number above 0', _is_count),
    alpha=('finite number', _is_number),
    adapter_sha256=('text', _is_text),
    parents=('list of hashes', _list_of(_is_text)),
    class_rows=('shapes by name', _dict_of(_list_of(lambda size: type(size) is int and size >= 0))),
    class_layouts=('orders of rows by name', _dict_of(_is_layout)),
    class_roles=('lists of names by role', _dict_of(_list_of(_is_text))),
    old_classes=('number of classes', _is_classes),
    total_classes=('number of classes', _is_classes),
    history=('list of phases', _list_of(_is_phase)),
    format=('whole number', lambda value: type(value) is int),
    versions=('texts by name', _dict_of(_is_text)),
)
