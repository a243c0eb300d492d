"""Pictures of one shape on a texture, for classification."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .image_folder import Split
from .shapes import SHAPE_CLASSES, shape_coverage
from .textures import TEXTURE_KINDS, make_texture

#: The smallest sum of channel differences between a shape and both background colours.
CONTRAST = 200


def draw_colours(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two background colours and a shape colour that stands out from both."""
    back = rng.integers(0, 256, (2, 3))
    candidates = rng.integers(0, 256, (16, 3))
    distance = np.abs(candidates[:, None] - back).sum(-1).min(-1)
    clear = np.flatnonzero(distance >= CONTRAST)
    return back, candidates[clear[0] if len(clear) else distance.argmax()]


def make_shape_picture(name: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """One picture: random place, size, rotation, colours and texture.

    Args:
        name (str): One of :data:`SHAPE_CLASSES`.
        size (int): Height and width in pixels.
        rng (np.random.Generator): Source of everything random.

    Returns:
        np.ndarray: uint8 RGB, (size, size, 3).
    """
    radius = rng.uniform(0.28, 0.46) * size
    centre = rng.uniform(radius, size - radius, 2)
    angle = rng.uniform(0, 360)
    back, front = draw_colours(rng)
    kind = TEXTURE_KINDS[rng.integers(len(TEXTURE_KINDS))]
    picture = make_texture(kind, (size, size), back, rng)
    coverage = shape_coverage(name, (size, size), tuple(centre), radius, angle)
    picture += (coverage[..., None] * np.float32(1 / 255)) * (front - picture)
    picture += rng.standard_normal((size, size, 1), np.float32) * rng.uniform(0, 12)
    return np.clip(picture, 0, 255).astype(np.uint8)


def make_shape_pictures(
    per_class: int, size: int = 28, seed: int = 0, classes: Sequence[str] = SHAPE_CLASSES
) -> Split:
    """Pictures of every class, in class order.

    A picture depends on the seed, its class and its number only, so asking for more pictures or
    fewer classes changes none of the others.

    Args:
        per_class (int): Number of pictures of each class.
        size (int): Height and width in pixels, 16 at least.
        seed (int): The seed.
        classes (Sequence[str]): The classes; labels are positions in it.

    Returns:
        Split: Pictures, labels and names.
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
            images[label * per_class + i] = make_shape_picture(name, size, rng)
    names = [f'{i:05d}' for i in range(per_class)] * len(classes)
    return Split(images, np.repeat(np.arange(len(classes)), per_class), names)
