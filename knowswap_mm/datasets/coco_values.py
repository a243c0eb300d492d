"""Values of COCO json: numbers, boxes, and masks before pycocotools draws them."""

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


#: Numbers of the smallest polygon. pycocotools takes four numbers for a box.
_TRIANGLE = 6


def usable_mask(segmentation: Any) -> Any:
    """A segmentation in the one way in which hosts and pycocotools draw it.

    Polygons without an area to fill (none, a point, a line) are left out; one polygon that is not
    in a list, and polygons as pairs of numbers, become lists of numbers.

    Returns:
        Polygons, a run-length code, None if there is nothing to draw, or what was given if it is
        neither, for :func:`mask_problem` to refuse.
    """
    if isinstance(segmentation, dict):
        return _plain_code(segmentation) if segmentation else None
    if not isinstance(segmentation, list):
        return segmentation or None
    if segmentation and all(_is_number(each) for each in segmentation):
        segmentation = [segmentation]
    elif len(segmentation) > 2 and all(_is_pair(each) for each in segmentation):
        segmentation = [segmentation]
    polygons = [_flat(polygon) for polygon in segmentation]
    if not all(isinstance(polygon, list) for polygon in polygons):
        return segmentation
    return [p for p in polygons if len(p) >= _TRIANGLE and len(p) % 2 == 0] or None


def mask_problem(segmentation: Any, width: int, height: int) -> str | None:
    """Why a ``segmentation`` must not reach the drawing code, which is C and trusts its input.

    Returns:
        str | None: The end of a sentence about the segmentation; None if it can be drawn.
    """
    if segmentation is None:
        return None
    if isinstance(segmentation, list):
        return _polygon_problem(segmentation, 8 * max(width, height))
    if not isinstance(segmentation, dict):
        return f'is a {type(segmentation).__name__}'
    if segmentation.get('size') != [height, width]:
        size = segmentation.get('size')
        return f'is for {size!r:.40}, the image has [{height}, {width}]'
    counts = segmentation.get('counts')
    if isinstance(counts, str):
        counts = _runs_of(counts)
    if not isinstance(counts, list) or not all(type(n) is int and n >= 0 for n in counts):
        return 'has no run lengths'
    if sum(counts) != width * height:
        return f'covers {sum(counts)} of {width * height} pixels'
    return None


def mask_box(segmentation: Any) -> list[float] | None:
    """The box around polygons or a run-length code that has no problem; None if it is empty."""
    if isinstance(segmentation, list):
        xs = [x for polygon in segmentation for x in polygon[::2]]
        ys = [y for polygon in segmentation for y in polygon[1::2]]
        return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
    if not isinstance(segmentation, dict):
        return None
    height, _ = segmentation['size']
    counts = segmentation['counts']
    runs = _runs_of(counts) if isinstance(counts, str) else counts
    rows: list[int] = []
    columns: list[int] = []
    start = 0
    for place, length in enumerate(runs or ()):
        if place % 2 and length:  # every second run is inside; codes go down the columns
            first, last = start, start + length - 1
            columns += [first // height, last // height]
            one = first // height == last // height
            rows += [first % height, last % height] if one else [0, height - 1]
        start += length
    if not rows:
        return None
    left, top = min(columns), min(rows)
    return [left, top, max(columns) - left + 1, max(rows) - top + 1]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def _flat(polygon: Any) -> Any:
    """``[x, y, x, y]`` of ``[[x, y], [x, y]]``, and numbers of strings."""
    if not isinstance(polygon, list):
        return polygon
    if polygon and all(_is_pair(each) for each in polygon):
        return [value for pair in polygon for value in pair]
    if any(isinstance(value, str) for value in polygon):
        return [value if (found := number(value)) is None else found for value in polygon]
    return polygon


def _plain_code(code: dict[str, Any]) -> dict[str, Any]:
    """A run-length code with integers for numbers that are whole."""
    plain = dict(code)
    for name in ('size', 'counts'):
        values = plain.get(name)
        if isinstance(values, (list, tuple)):
            plain[name] = [v if (found := whole(v)) is None else found for v in values]
    return plain


def _polygon_problem(polygons: list[Any], far: int) -> str | None:
    for polygon in polygons:
        if not isinstance(polygon, list) or not {int, float}.issuperset(map(type, polygon)):
            return 'has a polygon that is no list of numbers'
        # A sum is NaN if one of its terms is not.
        if polygon and (min(polygon) < -far or max(polygon) > far or math.isnan(sum(polygon))):
            return 'has a corner far outside of the image'
    return None


def _runs_of(text: str) -> list[int] | None:
    """Run lengths of COCO's compressed code; None if it is none.

    A character has 5 bits of a number, from the lowest on. From the fourth number on they are
    differences to the one two places before.
    """
    runs: list[int] = []
    value = shift = 0
    for letter in text.encode('latin1', 'replace'):
        bits = letter - 48
        if not 0 <= bits < 64 or shift > 35:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    return None if shift else runs
