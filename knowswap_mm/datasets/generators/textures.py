"""Background textures of five kinds, each between two colours."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

TEXTURE_KINDS = ('flat', 'gradient', 'stripes', 'checker', 'clouds')


def _ramp(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Distance along a random direction, in pixels."""
    turn = rng.uniform(0, 2 * math.pi)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return rows * math.sin(turn) + columns * math.cos(turn)


def _mix(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Share of the second colour in each pixel, (H, W) from 0 to 1."""
    if kind == 'flat':
        return np.zeros(shape, np.float32)
    if kind == 'gradient':
        ramp = _ramp(shape, rng)
        return (ramp - ramp.min()) / max(float(np.ptp(ramp)), 1e-6)
    period = rng.uniform(0.12, 0.35) * min(shape)
    if kind == 'stripes':
        return 0.5 + 0.5 * np.sin(_ramp(shape, rng) * (2 * math.pi / period))
    if kind == 'checker':
        rows, columns = np.ogrid[: shape[0], : shape[1]]
        cell, offset = max(period / 2, 2.0), rng.uniform(0, period, 2)
        return ((rows + offset[0]) // cell + (columns + offset[1]) // cell) % 2
    coarse = Image.fromarray(rng.random((5, 5), np.float32))
    return np.clip(np.asarray(coarse.resize(shape[::-1], Image.Resampling.BICUBIC)), 0, 1)


def make_texture(
    kind: str, shape: tuple[int, int], colours: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Paints one background.

    Args:
        kind (str): One of :data:`TEXTURE_KINDS`.
        shape (tuple[int, int]): Height and width.
        colours (np.ndarray): Two RGB colours, (2, 3), from 0 to 255.
        rng (np.random.Generator): Source of position, direction and period.

    Returns:
        np.ndarray: float32 (H, W, 3), from 0 to 255.
    """
    if kind not in TEXTURE_KINDS:
        raise ValueError(f'There is no texture {kind!r}; choose from {list(TEXTURE_KINDS)}.')
    share = np.asarray(_mix(kind, shape, rng), np.float32)[..., None]
    first, second = np.asarray(colours, np.float32)
    return first + share * (second - first)
