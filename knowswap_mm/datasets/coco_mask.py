"""Masks of COCO json, before pycocotools draws them."""

from __future__ import annotations

import math
from typing import Any


def mask_problem(segmentation: Any, width: int, height: int) -> str | None:
    """Why a ``segmentation`` must not reach the drawing code, which is C and trusts its input.

    Args:
        segmentation: Polygons, a run-length code, or None.
        width (int): Pixels of the picture.
        height (int): Likewise.

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
        return f'is for {size!r:.40}, the picture has [{height}, {width}]'
    counts = segmentation.get('counts')
    if isinstance(counts, str):
        counts = _runs_of(counts)
    if not isinstance(counts, list) or not all(type(n) is int and n >= 0 for n in counts):
        return 'has no run lengths'
    if sum(counts) != width * height:
        return f'covers {sum(counts)} of {width * height} pixels'
    return None


def _polygon_problem(polygons: list[Any], far: int) -> str | None:
    for polygon in polygons:
        if not isinstance(polygon, list) or not {int, float}.issuperset(map(type, polygon)):
            return 'has a polygon that is no list of numbers'
        # A sum is not a number if one of its terms is not.
        if polygon and (min(polygon) < -far or max(polygon) > far or math.isnan(sum(polygon))):
            return 'has a corner far outside of the picture'
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
