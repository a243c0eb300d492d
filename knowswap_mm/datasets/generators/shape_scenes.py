"""Scenes of several shapes on a texture, with exact boxes and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .shape_pictures import draw_colours
from .shapes import shape_coverage
from .textures import TEXTURE_KINDS, make_texture

#: A shape that loses more than this share of its pixels behind others is not placed.
HIDDEN = 0.25
TRIES = 20


@dataclass
class Scene:
    """One picture and what is in it.

    Attributes:
        picture (np.ndarray): uint8 RGB, (size, size, 3).
        names (list[str]): Class of each object.
        masks (np.ndarray): Visible pixels of each object, bool (objects, size, size).
        texture (str): Kind of the background.
    """

    picture: np.ndarray
    names: list[str]
    masks: np.ndarray
    texture: str

    def box(self, index: int) -> tuple[int, int, int, int]:
        """Left, top, width and height of the visible pixels of an object."""
        rows, columns = np.nonzero(self.masks[index])
        left, top = int(columns.min()), int(rows.min())
        return left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top


def make_scene(
    names: Sequence[str],
    size: int,
    rng: np.random.Generator,
    radius: tuple[float, float] = (0.13, 0.25),
) -> Scene:
    """Draw a scene.

    Shapes are placed one over the other; one that finds no place where enough of everything stays
    visible is left out (never the first).

    Args:
        names (Sequence[str]): Shapes to place, from :data:`SHAPE_CLASSES`.
        size (int): Height and width in pixels.
        rng (np.random.Generator): Source of everything random.
        radius (tuple[float, float]): Smallest and largest radius, as a share of ``size``.

    Returns:
        Scene: The scene.
    """
    kind = TEXTURE_KINDS[rng.integers(len(TEXTURE_KINDS))]
    back, _ = draw_colours(rng)
    picture = make_texture(kind, (size, size), back, rng)
    masks: list[np.ndarray] = []
    areas: list[int] = []
    placed: list[str] = []
    for name in names:
        for _ in range(TRIES):
            reach = rng.uniform(*radius) * size
            centre = rng.uniform(0.8 * reach, size - 0.8 * reach, 2)
            angle = rng.uniform(0, 360)
            coverage = shape_coverage(name, (size, size), tuple(centre), reach, angle)
            mask = coverage >= 128
            left = [np.count_nonzero(m & ~mask) for m in masks]
            if all(n >= (1 - HIDDEN) * a for n, a in zip(left, areas, strict=True)):
                masks = [m & ~mask for m in masks] + [mask]
                areas.append(np.count_nonzero(mask))
                placed.append(name)
                front = _stand_out(picture, mask, rng)
                picture += (coverage[..., None] * np.float32(1 / 255)) * (front - picture)
                break
    picture += rng.standard_normal((size, size, 1), np.float32) * rng.uniform(0, 12)
    return Scene(np.clip(picture, 0, 255).astype(np.uint8), placed, np.stack(masks), kind)


def _stand_out(picture: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A colour far from what it will cover."""
    candidates = rng.integers(0, 256, (16, 3))
    covered = picture[mask][::7]
    distance = np.abs(candidates[:, None] - covered).sum(-1).min(-1)
    return candidates[distance.argmax()].astype(np.float32)
