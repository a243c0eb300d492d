"""Who gets which object."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment


def assign(costs: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """Match queries to objects one to one, at the least cost of each picture and layer.

    The solver gets each matrix as hosts give it (or transposed, which it would do itself), so that
    even ties are broken alike.

    Args:
        costs (np.ndarray): Cost of each object for each query of its picture,
            ``(sets, objects, queries)``; the objects of all pictures end to end.
        counts (Sequence[int]): Objects of each picture.

    Returns:
        np.ndarray: int64, ``(2, sets, pairs)``: the queries of the pairs, numbered through all
        pictures, in ascending order; and their objects, likewise.

    Raises:
        ValueError: If a cost is not a number.
    """
    sets, _, queries = costs.shape
    pairs = np.empty((2, sets, sum(min(count, queries) for count in counts)), dtype=np.int64)
    for number, matrix in enumerate(costs):
        first = filled = 0
        for picture, count in enumerate(counts):
            if not count or not queries:
                continue
            part = matrix[first : first + count]
            if count == queries:
                chosen, objects = linear_sum_assignment(part.T)
            else:
                objects, chosen = linear_sum_assignment(part)
            order = chosen.argsort()
            here = slice(filled, filled + len(order))
            pairs[0, number, here] = picture * queries + chosen[order]
            pairs[1, number, here] = first + objects[order]
            first, filled = first + count, here.stop
    return pairs
