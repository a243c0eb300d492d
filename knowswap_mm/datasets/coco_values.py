"""Values of COCO json, made uniform: exporters write one thing in many ways."""

from __future__ import annotations

import math
import re
from typing import Any

_WHOLE = re.compile(r'[+-]?\d{1,18}(\.0*)?')
#: Beyond, a float does not hold every integer.
_MOST = 2**53


class ValueProblem(ValueError):
    """A value that cannot be used; the text is the end of a sentence, ``fix`` what to do."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(problem)
        self.fix = fix


def whole(value: Any) -> int | None:
    """An integer, however it is written (``640``, ``640.0``, ``'640'``); None if it is none."""
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        value = int(value.strip().split('.')[0])
    if type(value) is float and math.isfinite(value) and value == int(value):
        value = int(value)
    return value if type(value) is int and abs(value) < _MOST else None


def number(value: Any) -> float | int | None:
    """A finite number, also as a string; None if it is none."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if type(value) is int:
        return value if abs(value) < _MOST else None
    return value if type(value) is float and math.isfinite(value) else None


def identifier(value: Any) -> int | str | None:
    """An id: an integer if it is one (``'12'`` is 12), else a string; None if it is neither."""
    found = whole(value)
    if found is None and isinstance(value, str) and value.strip():
        return value.strip()
    return found


def flag(value: Any) -> bool:
    """A yes or no of an annotation: absent, null, numbers, ``true`` and their strings.

    Raises:
        ValueProblem: If it is something else.
    """
    if value is None or isinstance(value, bool):
        return bool(value)
    found = {'true': 1, 'false': 0, '': 0}.get(str(value).strip().lower(), whole(value))
    if found not in (0, 1):
        raise ValueProblem(f'{value!r:.40} where 0 or 1 belongs', 'write 0 or 1')
    return bool(found)


def box_of(value: Any) -> list[float] | None:
    """x, y, width, height; None if there is no box at all.

    Raises:
        ValueProblem: If it is something else than four finite numbers.
    """
    if value is None or value == []:
        return None
    box = [number(each) for each in value] if isinstance(value, (list, tuple)) else []
    if len(box) != 4 or None in box:
        raise ValueProblem(
            f'without a box: {value!r:.80}',
            'write bbox as four finite numbers: x, y, width, height in pixels',
        )
    return box
