"""Images of one shape on a texture, for classification."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from knowswap_mm.data_tools.generators.trees import Split

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


#: The smallest sum of channel differences between a shape and both background colours.
CONTRAST = 200


def draw_colours(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two background colours and a shape colour that stands out from both."""
    back = rng.integers(0, 256, (2, 3))
    candidates = rng.integers(0, 256, (16, 3))
    distance = np.abs(candidates[:, None] - back).sum(-1).min(-1)
    clear = np.flatnonzero(distance >= CONTRAST)
    return back, candidates[clear[0] if len(clear) else distance.argmax()]


def make_shape_image(name: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """One image: random place, size, rotation, colours and texture.

    Returns:
        np.ndarray: uint8 RGB, (size, size, 3).
    """
    radius = rng.uniform(0.28, 0.46) * size
    centre = rng.uniform(radius, size - radius, 2)
    angle = rng.uniform(0, 360)
    back, front = draw_colours(rng)
    kind = TEXTURE_KINDS[rng.integers(len(TEXTURE_KINDS))]
    image = make_texture(kind, (size, size), back, rng)
    coverage = shape_coverage(name, (size, size), tuple(centre), radius, angle)
    image += (coverage[..., None] * np.float32(1 / 255)) * (front - image)
    image += rng.standard_normal((size, size, 1), np.float32) * rng.uniform(0, 12)
    return np.clip(image, 0, 255).astype(np.uint8)


def make_shape_images(
    per_class: int, size: int = 28, seed: int = 0, classes: Sequence[str] = SHAPE_CLASSES
) -> Split:
    """Images of every class, in class order.

    An image depends on the seed, its class and its number only, so asking for more images or
    fewer classes changes none of the others.

    Args:
        per_class (int): Number of images of each class.
        size (int): Height and width in pixels, 16 at least.
        seed (int): The seed.
        classes (Sequence[str]): The classes; labels are positions in it.

    Returns:
        Split: Images, labels and names.
    """
    if per_class < 1:
        raise ValueError(f'per_class must be 1 or more, not {per_class}.')
    if size < 16:
        raise ValueError(f'Shapes cannot be told apart below 16 px; size is {size}.')
    unknown = sorted(set(classes) - set(SHAPE_CLASSES))
    if unknown:
        raise ValueError(f'There are no shapes {unknown}; choose from {list(SHAPE_CLASSES)}.')
    images = np.empty((len(classes) * per_class, size, size, 3), np.uint8)
    for label, name in enumerate(classes):
        number = SHAPE_CLASSES.index(name)
        for i in range(per_class):
            rng = np.random.default_rng((seed, number, i))
            images[label * per_class + i] = make_shape_image(name, size, rng)
    names = [f'{i:05d}' for i in range(per_class)] * len(classes)
    return Split(images, np.repeat(np.arange(len(classes)), per_class), names)
