"""Writes scenes as images with COCO annotations and semantic maps."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from knowswap_mm.data_tools.generators.shapes import (
    SHAPE_CLASSES,
    TEXTURE_KINDS,
    draw_colours,
    make_texture,
    shape_coverage,
)
from knowswap_mm.data_tools.generators.trees import Expected, read_whole, write_tree

#: A shape that loses more than this share of its pixels behind others is not placed.
HIDDEN = 0.25
TRIES = 20


@dataclass
class Scene:
    """One image and what is in it.

    Attributes:
        image (np.ndarray): uint8 RGB, (size, size, 3).
        names (list[str]): Class of each object.
        masks (np.ndarray): Visible pixels of each object, bool (objects, size, size).
        texture (str): Kind of the background.
    """

    image: np.ndarray
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
    """
    kind = TEXTURE_KINDS[rng.integers(len(TEXTURE_KINDS))]
    back, _ = draw_colours(rng)
    image = make_texture(kind, (size, size), back, rng)
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
                front = _stand_out(image, mask, rng)
                image += (coverage[..., None] * np.float32(1 / 255)) * (front - image)
                break
    image += rng.standard_normal((size, size, 1), np.float32) * rng.uniform(0, 12)
    return Scene(np.clip(image, 0, 255).astype(np.uint8), placed, np.stack(masks), kind)


def _stand_out(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A colour far from what it will cover."""
    candidates = rng.integers(0, 256, (16, 3))
    covered = image[mask][::7]
    distance = np.abs(candidates[:, None] - covered).sum(-1).min(-1)
    return candidates[distance.argmax()].astype(np.float32)


MAX_OBJECTS = 4
CHUNK = 100
#: Folder of the semantic maps.
MAPS = 'semantic'
#: Background that the semantic maps leave unlabelled (0), as ADE20K leaves some pixels.
UNLABELLED, *STUFF = TEXTURE_KINDS


def read_scene_manifest(root: str | Path) -> dict | None:
    """The manifest of a finished tree, or None if it is not there or lost files since."""

    def expect(counts: dict) -> Expected:
        folders = {f'{place}{s}': n for s, n in counts.items() for place in ('', f'{MAPS}/')}
        return folders, [f'annotations/instances_{split}.json' for split in counts]

    return read_whole(root, expect)


def write_shape_scenes(
    root: str | Path,
    classes: Sequence[str],
    splits: Mapping[str, int],
    size: int = 128,
    seed: int = 0,
    workers: int = 1,
) -> bool:
    """Write scenes as images, COCO annotations and semantic maps.

    The files are ``<root>/<split>/<nnnnn>.png``, ``<root>/annotations/instances_<split>.json`` and
    ``<root>/semantic/<split>/<nnnnn>.png``. Scenes hold one to four shapes; a scene depends on the
    seed, the classes, its split and its number only. Boxes and masks (uncompressed RLE) are those
    of the visible pixels; categories are numbered from 1 in the order of ``classes``. In the
    semantic maps the textures :data:`STUFF` follow behind them, and 0 is unlabelled.

    Args:
        root (str | Path): The folder to write.
        classes (Sequence[str]): Shapes that occur, from :data:`SHAPE_CLASSES`.
        splits (Mapping[str, int]): Number of scenes of each split.
        size (int): Height and width in pixels.
        seed (int): The seed.
        workers (int): Processes that draw.

    Returns:
        bool: True if the tree was written, False if it was there already.

    Raises:
        ValueError: If a class is unknown, or a number is too small.
    """
    if unknown := sorted(set(classes) - set(SHAPE_CLASSES)):
        raise ValueError(f'There are no shapes {unknown}; choose from {list(SHAPE_CLASSES)}.')
    if not classes or size < 32 or workers < 1 or min(splits.values(), default=0) < 1:
        raise ValueError('There must be a class, a scene in each split, 32 px and a worker.')
    request = dict(
        generator='shape-scenes',
        version=2,
        classes=list(classes),
        splits=dict(splits),
        size=size,
        seed=seed,
    )

    def build(partial: Path) -> dict[str, int]:
        (partial / 'annotations').mkdir()
        for number, (split, count) in enumerate(splits.items()):
            (partial / split).mkdir()
            (partial / MAPS / split).mkdir(parents=True)
            jobs = [
                (partial, split, tuple(classes), size, (seed, number), start, count)
                for start in range(0, count, CHUNK)
            ]
            if workers == 1:
                parts = [_write_chunk(job) for job in jobs]
            else:
                with ProcessPoolExecutor(workers) as pool:
                    parts = list(pool.map(_write_chunk, jobs))
            content = _coco_json((scene for part in parts for scene in part), classes, size)
            (partial / 'annotations' / f'instances_{split}.json').write_text(json.dumps(content))
        return dict(splits)

    return write_tree(root, request, build, read_scene_manifest)


def _write_chunk(job: tuple) -> list[list[dict[str, Any]]]:
    """Draws and writes some scenes; returns the objects of each."""
    root, split, classes, size, seed, start, count = job
    found = []
    for index in range(start, min(start + CHUNK, count)):
        rng = np.random.default_rng((*seed, index))
        names = rng.choice(classes, rng.integers(1, MAX_OBJECTS + 1))
        scene = make_scene(names.tolist(), size, rng)
        name = f'{index:05d}.png'
        Image.fromarray(scene.image).save(root / split / name, compress_level=1)
        semantic_map(scene, classes).save(root / MAPS / split / name)
        found.append(
            [
                dict(
                    category_id=classes.index(name) + 1,
                    bbox=list(scene.box(i)),
                    area=int(scene.masks[i].sum()),
                    iscrowd=0,
                    segmentation=encode_mask(scene.masks[i]),
                )
                for i, name in enumerate(scene.names)
            ]
        )
    return found


def semantic_map(scene: Scene, classes: Sequence[str]) -> Image.Image:
    """Draw the semantic map of a scene: 0 unlabelled, then ``classes``, then :data:`STUFF`.

    Returns:
        Image.Image: 8-bit grey, one number a pixel.
    """
    numbers = {name: i + 1 for i, name in enumerate((*classes, *STUFF))}
    values = np.full(scene.image.shape[:2], numbers.get(scene.texture, 0), np.uint8)
    for name, mask in zip(scene.names, scene.masks, strict=True):
        values[mask] = numbers[name]
    return Image.fromarray(values)


def _coco_json(scenes: Iterable[list[dict]], classes: Sequence[str], size: int) -> dict[str, Any]:
    images, annotations = [], []
    for number, objects in enumerate(scenes):
        image = dict(id=number + 1, file_name=f'{number:05d}.png', width=size, height=size)
        images.append(image)
        for item in objects:
            annotations.append(dict(id=len(annotations) + 1, image_id=number + 1, **item))
    categories = [dict(id=i + 1, name=name) for i, name in enumerate(classes)]
    return dict(images=images, annotations=annotations, categories=categories)


def encode_mask(mask: np.ndarray) -> dict[str, list[int]]:
    """COCO's uncompressed run-length encoding of a bool mask (H, W), column after column.

    Returns:
        dict: ``size`` (height, width) and ``counts``.
    """
    flat = np.concatenate(([0], mask.ravel(order='F').astype(np.int8), [0]))
    edges = np.flatnonzero(np.diff(flat))
    runs = np.diff(np.concatenate(([0], edges, [mask.size])))
    counts = runs.tolist()
    if len(counts) > 1 and counts[-1] == 0:
        counts.pop()
    return dict(size=list(mask.shape), counts=counts)
