"""How deep learning and forgetting reach, in numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from knowswap_mm.visualization.tables import markdown_table


def mean_gradient(phase: Mapping[str, Any], of: str = 'gradient') -> list[float]:
    """Mean ``gradient`` or ``share`` over all steps of a phase, one number a block.

    The phase is an entry of :class:`knowswap_mm.engine.hooks.block_profile.BlockProfile`.
    """
    steps = np.asarray(phase['steps'], dtype=float)
    return (steps @ np.asarray(phase[of]) / max(steps.sum(), 1)).tolist()


def relative_change(phase: Mapping[str, Any], weight: Sequence[float]) -> np.ndarray:
    """Change ``(parts, blocks)`` since the phase began, by the norm of the frozen weights."""
    return np.asarray(phase['change']) / np.asarray(weight)


def depth(values: Sequence[float]) -> float:
    """Centre of non-negative values over the blocks: 0 is the first block, 1 the last.

    NaN if all values are zero.
    """
    values = np.asarray(values, dtype=float)
    total = values.sum()
    if not total > 0:
        return float('nan')
    return float(values @ np.linspace(0, 1, len(values)) / total)


_HEADER = [
    'host', 'kind', 'phases', 'gradient', 'of its first part', 'of its last part',
    'change after the first part', 'at the end',
]  # fmt: skip


def depth_table(hosts: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Depth of gradient and change by host and kind of phase, as a Markdown table.

    Depth is 0 at the first block and 1 at the last. Values are means over phases of one kind, with
    the smallest and the largest in brackets if there are several.
    """
    rows = []
    for host, profiles in hosts.items():
        kinds: dict[str, list[list[float]]] = {}
        for profile in profiles:
            for phase in profile['phases']:
                change = [depth(part) for part in relative_change(phase, profile['weight'])]
                shares = [depth(part) for part in phase['share']]
                whole = depth(mean_gradient(phase, 'share'))
                numbers = [whole, shares[0], shares[-1], change[0], change[-1]]
                kinds.setdefault(phase['kind'], []).append(numbers)
        for kind, found in kinds.items():
            rows.append([host, kind, len(found), *map(_spread, np.transpose(found))])
    return markdown_table(_HEADER, rows)


def _spread(values: np.ndarray) -> str:
    mean = f'{values.mean():.2f}'
    if len(values) == 1:
        return mean
    return f'{mean} [{values.min():.2f}, {values.max():.2f}]'
