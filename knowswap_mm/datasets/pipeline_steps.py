"""What a host's pipeline does, as its config says."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import mmcv
from PIL import Image

#: EXIF's field of the orientation, and a quarter turn.
ORIENTATION, QUARTER_TURN = 0x0112, 6
_IMAGE_LOADER, _ANNOTATION_LOADER = 'LoadImageFromFile', 'LoadAnnotations'


def type_of(config: Any) -> str:
    """Name of the type of a config without its scope; empty if it has none."""
    kind = config.get('type') if isinstance(config, Mapping) else None
    name = kind if isinstance(kind, str) else getattr(kind, '__name__', '')
    return name.rsplit('.', 1)[-1]


def steps_of(pipeline: Any) -> Iterator[dict[str, Any]]:
    """Configs of all steps, those within other steps (``transforms``) included."""
    if isinstance(pipeline, Mapping):
        if pipeline.get('type') is not None:
            yield pipeline
        for value in pipeline.values():
            if isinstance(value, (list, tuple, Mapping)):
                yield from steps_of(value)
    elif isinstance(pipeline, Sequence) and not isinstance(pipeline, str):
        for step in pipeline:
            if isinstance(step, (list, tuple, Mapping)):
                yield from steps_of(step)


def image_loader(pipeline: Any) -> dict[str, Any] | None:
    """Config of the step that reads the image; None if it is of a type that is not known here."""
    return next((s for s in steps_of(pipeline) if type_of(s) == _IMAGE_LOADER), None)


def annotation_loaders(pipeline: Any) -> list[dict[str, Any]]:
    """Configs of the steps that read boxes, masks or maps."""
    return [step for step in steps_of(pipeline) if type_of(step) == _ANNOTATION_LOADER]


def loads_masks(pipeline: Any) -> bool:
    """Whether a step loads the masks of objects."""
    return any(bool(step.get('with_mask')) for step in annotation_loaders(pipeline))


def turns(loader: Mapping[str, Any], form: str) -> bool:
    """Whether a loader turns an image as its EXIF orientation says.

    This differs between decoders, their versions and file formats, so an image is decoded.

    Args:
        loader (Mapping): Config of ``LoadImageFromFile``.
        form (str): Pillow's name of the file format.
    """
    return _turns(
        str(loader.get('color_type', 'color')), str(loader.get('imdecode_backend', 'cv2')), form
    )


def without_turning(pipeline: Any) -> Any:
    """A copy of a pipeline whose image loader leaves images as they are stored."""
    pipeline = copy.deepcopy(pipeline)
    loader = image_loader(pipeline)
    kind = str(loader.get('color_type', 'color'))
    if kind in ('color', 'grayscale'):
        loader['color_type'] = f'{kind}_ignore_orientation'
    return pipeline


@lru_cache(maxsize=64)
def _turns(color_type: str, backend: str, form: str) -> bool:
    exif = Image.Exif()
    exif[ORIENTATION] = QUARTER_TURN
    file = io.BytesIO()
    try:
        Image.new('RGB', (16, 8)).save(file, form, exif=exif)
        image = mmcv.imfrombytes(file.getvalue(), flag=color_type, backend=backend)
    except Exception:  # a format without EXIF, or one that the decoder does not know
        return False
    return image.shape[:2] == (16, 8)
