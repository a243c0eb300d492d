"""Numbers that a block profile comes down to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def mean_gradient(phase: Mapping[str, Any], of: str = 'gradient') -> list[float]:
    """Mean over all steps of a phase, one number a block.

    Args:
        phase (Mapping): An entry of :class:`knowswap_mm.engine.block_profile.BlockProfile`.
        of (str): ``gradient`` or ``share``.
    """
    steps = np.asarray(phase['steps'], dtype=float)
    return (steps @ np.asarray(phase[of]) / max(steps.sum(), 1)).tolist()


def relative_change(phase: Mapping[str, Any], weight: Sequence[float]) -> np.ndarray:
    """Change of a block since the phase began, by the norm of its frozen weights.

    Args:
        phase (Mapping): An entry of a profile.
        weight (Sequence[float]): Norm of the weights of each block.

    Returns:
        np.ndarray: ``(parts, blocks)``.
    """
    return np.asarray(phase['change']) / np.asarray(weight)


def depth(values: Sequence[float]) -> float:
    """Centre of non-negative values over the blocks: 0 is the first block, 1 the last.

    Args:
        values (Sequence[float]): One a block.

    Returns:
        float: Not a number if all values are zero.
    """
    values = np.asarray(values, dtype=float)
    total = values.sum()
    if not total > 0:
        return float('nan')
    return float(values @ np.linspace(0, 1, len(values)) / total)
