"""Which steps of a pipeline give the same result each time."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import cv2
import mmcv
import numpy as np
import PIL
from mmcv.transforms import BaseTransform

#: By library and class; a subclass is not meant. Packing is left out because what it makes is new
#: each time, ``Normalize`` because floats take four times the room and cost less than reading them.
KNOWN = frozenset(
    {
        'mmcv.CenterCrop',
        'mmcv.LoadAnnotations',
        'mmcv.LoadImageFromFile',
        'mmcv.Pad',
        'mmcv.Resize',
        'mmdet.FilterAnnotations',
        'mmdet.FixScaleResize',
        'mmdet.FixShapeResize',
        'mmdet.LoadAnnotations',
        'mmdet.LoadEmptyAnnotations',
        'mmdet.LoadPanopticAnnotations',
        'mmdet.Pad',
        'mmdet.Resize',
        'mmdet.ResizeShortestEdge',
        'mmdet.SegRescale',
        'mmpretrain.EfficientNetCenterCrop',
        'mmpretrain.ResizeEdge',
        'mmseg.AdjustGamma',
        'mmseg.CLAHE',
        'mmseg.LoadAnnotations',
        'mmseg.LoadImageFromNpyFile',
        'mmseg.Rerange',
        'mmseg.Resize',
        'mmseg.ResizeShortestEdge',
        'mmseg.ResizeToMultiple',
        'mmseg.RGB2Gray',
        'mmseg.SegRescale',
    }
)
#: Changes whenever kept samples of earlier versions must not be used.
_FORMAT = 1


def count_leading(steps: Iterable[Any], more: Iterable[type] = ()) -> int:
    """How many steps at the beginning of a pipeline are deterministic.

    Args:
        steps (Iterable): The steps.
        more (Iterable[type]): Classes beside :data:`KNOWN`.

    Returns:
        int: Steps before the first one that is not known to be.
    """
    count, more = 0, tuple(more)
    for step in steps:
        if not _is_deterministic(step, more):
            break
        count += 1
    return count


def is_declared(step: Any, more: Iterable[type]) -> bool:
    """Whether a step counts as deterministic only because the config says so."""
    return type(step) in tuple(more) and _name(type(step)) not in KNOWN


def fingerprint(steps: Iterable[Any], configs: Iterable[Mapping[str, Any]]) -> str:
    """A name for what some steps do.

    Args:
        steps (Iterable): The steps.
        configs (Iterable[Mapping]): Their configs.

    Returns:
        str: Changes with the configs, the code of the steps and the versions of the libraries.
    """
    libraries = {module: module.__version__ for module in (cv2, mmcv, np, PIL)}
    content: list[Any] = [_FORMAT, sorted((m.__name__, v) for m, v in libraries.items())]
    for step, config in zip(steps, configs, strict=True):
        kind = type(step)
        package = sys.modules.get(kind.__module__.partition('.')[0])
        try:
            code = inspect.getsource(kind)
        except (OSError, TypeError):  # made in a console, or compiled
            code = ''
        version = str(getattr(package, '__version__', ''))
        content.append([kind.__module__, kind.__qualname__, version, code, config])
    text = json.dumps(content, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _is_deterministic(step: Any, more: tuple[type, ...]) -> bool:
    if type(step) not in more and _name(type(step)) not in KNOWN:
        return False
    inner = [value for value in vars(step).values() if isinstance(value, BaseTransform)]
    return all(_is_deterministic(part, more) for part in inner)


def _name(kind: type) -> str:
    return f'{kind.__module__.partition(".")[0]}.{kind.__name__}'
