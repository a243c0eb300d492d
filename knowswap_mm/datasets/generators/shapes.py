"""Outlines of 16 shape classes, and their masks.

No shape is a rotated, scaled or mirrored copy of another, so identity depends on the outline alone.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

SUPERSAMPLING = 4


def _arc(
    start: float, stop: float, radius: float = 1.0, centre=(0.0, 0.0), steps: int = 40
) -> np.ndarray:
    """Points of an arc; angles in degrees."""
    angles = np.radians(np.linspace(start, stop, steps))
    return np.stack((np.cos(angles), np.sin(angles)), 1) * radius + np.asarray(centre)


def _star(points: int, inner: float) -> np.ndarray:
    """A star with the given inner radius."""
    angles = np.radians(np.arange(2 * points) * 180 / points - 90)
    radius = np.where(np.arange(2 * points) % 2, inner, 1.0)
    return np.stack((np.cos(angles), np.sin(angles)), 1) * radius[:, None]


def _heart(steps: int = 60) -> np.ndarray:
    """The usual heart curve."""
    t = np.linspace(0, 2 * math.pi, steps, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack((16 * np.sin(t) ** 3, -y), 1)


def _poly(*points: tuple[float, float]) -> np.ndarray:
    return np.asarray(points, float)


# Each class is a list of loops: the first is filled, the others are holes. Up is negative y.
_RAW = {
    'disc': [_arc(0, 360)],
    'ring': [_arc(0, 360), _arc(0, 360, 0.55)],
    'half-disc': [_arc(0, 180)],
    'crescent': [np.concatenate((_arc(50, 310), _arc(270, 90, 0.77, (0.64, 0.0))))],
    'triangle': [_poly((0, -1), (0.866, 0.5), (-0.866, 0.5))],
    'square': [_poly((-1, -1), (1, -1), (1, 1), (-1, 1))],
    'bar': [_poly((-1, -0.28), (1, -0.28), (1, 0.28), (-1, 0.28))],
    'cross': [
        _poly(
            (-3, -1),
            (-1, -1),
            (-1, -3),
            (1, -3),
            (1, -1),
            (3, -1),
            (3, 1),
            (1, 1),
            (1, 3),
            (-1, 3),
            (-1, 1),
            (-3, 1),
        )
    ],
    'star': [_star(5, 0.42)],
    'heart': [_heart()],
    'arrow': [_poly((0, -3), (2.4, 0), (0.8, 0), (0.8, 3), (-0.8, 3), (-0.8, 0), (-2.4, 0))],
    'l-shape': [_poly((-2, -3), (-0.4, -3), (-0.4, 1.4), (2, 1.4), (2, 3), (-2, 3))],
    't-shape': [
        _poly(
            (-3, -3), (3, -3), (3, -1.2), (0.9, -1.2), (0.9, 3), (-0.9, 3), (-0.9, -1.2), (-3, -1.2)
        )
    ],
    'u-shape': [
        _poly((-3, -3), (-1.4, -3), (-1.4, 1.2), (1.4, 1.2), (1.4, -3), (3, -3), (3, 3), (-3, 3))
    ],
    'hourglass': [_poly((-2, -3), (2, -3), (0.3, 0), (2, 3), (-2, 3), (-0.3, 0))],
    'zigzag': [
        _poly((-3, -3), (1, -3), (1, 1.4), (3, 1.4), (3, 3), (-1, 3), (-1, -1.4), (-3, -1.4))
    ],
}
#: Class names in label order.
SHAPE_CLASSES = tuple(_RAW)


def _normalise(loops: list[np.ndarray]) -> list[np.ndarray]:
    """Moves the middle of the box to 0 and scales the farthest point to distance 1."""
    middle = (loops[0].min(0) + loops[0].max(0)) / 2
    reach = np.linalg.norm(loops[0] - middle, axis=1).max()
    return [(loop - middle) / reach for loop in loops]


_OUTLINES = {name: _normalise(loops) for name, loops in _RAW.items()}


def shape_coverage(
    name: str,
    canvas: tuple[int, int],
    centre: tuple[float, float],
    radius: float,
    angle: float = 0.0,
) -> np.ndarray:
    """How much of each pixel a shape covers.

    Args:
        name (str): One of :data:`SHAPE_CLASSES`.
        canvas (tuple[int, int]): Height and width; what lies outside is cut off.
        centre (tuple[float, float]): x and y of the middle, in pixels.
        radius (float): Distance from the middle to the farthest point, in pixels.
        angle (float): Rotation in degrees.

    Returns:
        np.ndarray: uint8 (H, W), 0 outside and 255 inside.
    """
    if name not in _OUTLINES:
        raise ValueError(f'There is no shape {name!r}; choose from {list(SHAPE_CLASSES)}.')
    if radius <= 0:
        raise ValueError(f'The radius of a shape must be above 0, not {radius}.')
    height, width = canvas
    left, top = (max(0, math.floor(c - radius)) for c in centre)
    right = min(width, math.ceil(centre[0] + radius) + 1)
    bottom = min(height, math.ceil(centre[1] + radius) + 1)
    coverage = np.zeros((height, width), np.uint8)
    if right <= left or bottom <= top:
        return coverage
    turn = math.radians(angle)
    cos, sin = math.cos(turn) * radius, math.sin(turn) * radius
    matrix = np.array(((cos, sin), (-sin, cos))) * SUPERSAMPLING
    # Pillow also fills the small pixels that an outline only touches: an eighth of a pixel at most.
    shift = (np.asarray(centre) - (left, top)) * SUPERSAMPLING
    box = Image.new('L', ((right - left) * SUPERSAMPLING, (bottom - top) * SUPERSAMPLING))
    draw = ImageDraw.Draw(box)
    for i, loop in enumerate(_OUTLINES[name]):
        draw.polygon((loop @ matrix + shift).ravel().tolist(), fill=0 if i else 255)
    coverage[top:bottom, left:right] = np.asarray(box.reduce(SUPERSAMPLING))
    return coverage


def shape_mask(
    name: str,
    canvas: tuple[int, int],
    centre: tuple[float, float],
    radius: float,
    angle: float = 0.0,
) -> np.ndarray:
    """The pixels that a shape covers by half or more; arguments as :func:`shape_coverage`.

    Returns:
        np.ndarray: bool (H, W).
    """
    return shape_coverage(name, canvas, centre, radius, angle) >= 128
