"""Configs of the hosts' data sets: their steps and wrappers, and those that no view works over."""

from __future__ import annotations

import copy
import inspect
import io
import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import mmcv
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS
from PIL import Image

from knowswap_mm.compat import same_records
from knowswap_mm.errors import ConfigError
from knowswap_mm.registry import type_name

#: EXIF's field of the orientation, and a quarter turn.
ORIENTATION, QUARTER_TURN = 0x0112, 6
_IMAGE_LOADER, _ANNOTATION_LOADER = 'LoadImageFromFile', 'LoadAnnotations'


def type_of(config: Any) -> str:
    """Name of the type of a config without its scope; empty if it has none."""
    return type_name(config.get('type')) if isinstance(config, Mapping) else ''


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


def inner_sample(dataset: Any, index: int) -> tuple[Any, int]:
    """The data set that holds a sample itself, through concatenation, repetition, balancing, folds.

    Returns:
        tuple[Any, int]: The innermost data set, and where it has the sample.
    """
    while True:
        if parts := getattr(dataset, 'datasets', None):  # ConcatDataset
            ends = [0]
            for part in parts:
                ends.append(ends[-1] + len(part))
            place = bisect_right(ends, index) - 1
            dataset, index = parts[place], index - ends[place]
        elif hasattr(dataset, 'repeat_indices'):  # ClassBalancedDataset
            dataset, index = dataset.dataset, dataset.repeat_indices[index]
        elif hasattr(dataset, 'dataset') and hasattr(dataset, 'get_data_info'):
            inner = dataset.dataset  # RepeatDataset; KFoldDataset holds the chosen folds alone
            dataset, index = inner, index % len(inner)
        else:
            return dataset, index


def inner_datasets(dataset: Any) -> list[Any]:
    """The data sets within wrappers that hold samples themselves."""
    inner = getattr(dataset, 'datasets', None) or getattr(dataset, 'dataset', None)
    if inner is None:
        return [dataset]
    parts = inner if isinstance(inner, (list, tuple)) else [inner]
    return [leaf for part in parts for leaf in inner_datasets(part)]


def inner_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config of the first data set within wrappers; the config itself if it is none."""
    while is_wrapper(config):
        inner = config.get('dataset') or (config.get('datasets') or [None])[0]
        if not isinstance(inner, Mapping):
            break
        config = inner
    return config


def set_pipeline(config: Any, steps: Sequence[Any]) -> None:
    """Give a data set a pipeline, in place; within wrappers, a copy to each that holds samples."""
    if not is_wrapper(config):
        config['pipeline'] = copy.deepcopy(list(steps))
        return
    for each in config.get('datasets') or [config['dataset']]:
        set_pipeline(each, steps)


_XML = (
    "write COCO json once with 'knowswap data detection voc --source VOCdevkit/VOC2012 --out "
    "data/voc', and use type='CocoDataset' with its annotations/instances_train.json"
)
#: By a class among the parents: what to use instead.
_INSTEAD = dict(
    XMLDataset=_XML,
    CocoPanopticDataset="use type='CocoDataset' with the instances json of the data set",
    BaseSegDataset="use view='knowswap_mm.SemanticRoleView' in the scope mmseg",
)
_COCO = "use type='CocoDataset' with the same ann_file and data_prefix"
_OTHER = "write its boxes as COCO json and use type='CocoDataset'"
#: What a wrapper is for, and how a swap has it.
_WRAPPERS = dict(
    RepeatDataset='a swap counts iterations, so nothing needs repeating; name the inner data set',
    ClassBalancedDataset="name the inner data set; fraction_by='class' draws from every class",
    ConcatDataset='write one annotation file (or folder) for all of them, and name that data set',
    MultiImageMixDataset='name the inner data set; images of different samples are not mixed',
)


def is_wrapper(config: Mapping[str, Any]) -> bool:
    """Whether a config describes a data set of other data sets, by its type or what it holds."""
    within = isinstance(config.get('dataset'), Mapping)
    within = within or isinstance(config.get('datasets'), (list, tuple))
    return within or type_of(config) in _WRAPPERS


def refuse_wrapper(key: str, dataset: Mapping[str, Any]) -> None:
    """Require a data set of images, none that wraps others.

    Raises:
        ConfigError: If it is a wrapper.
    """
    if is_wrapper(dataset):
        name = type_of(dataset)
        fix = _WRAPPERS.get(name, 'name the inner data set')
        problem = 'wraps other data sets, and a role needs one of images'
        raise ConfigError(f'{key}.dataset.type', name, problem, fix)


def check_coco_config(key: str, dataset: Mapping[str, Any]) -> None:
    """Require a config that :class:`CocoRoleView` can give its own annotation file.

    Raises:
        ConfigError: If it is of another kind, or has settings that would be lost.
    """
    _check_coco_type(key, dataset)
    for part in ('ann_file', 'data_root'):
        value = dataset.get(part)
        if value is not None and not isinstance(value, (str, os.PathLike)):
            fix = 'give one path; join several files into one json'
            raise ConfigError(f'{key}.dataset.{part}', value, 'is no path', fix)
    if dataset.get('indices') is not None:
        fix = f'leave it out, and set {key}.fraction'
        problem = 'a role chooses its own images'
        raise ConfigError(f'{key}.dataset.indices', dataset['indices'], problem, fix)
    prefix = dataset.get('data_prefix')
    if not isinstance(prefix, Mapping) or not isinstance(prefix.get('img'), str):
        fix = "give the folder of the images, e.g. dict(img='train2017/'), or dict(img='')"
        raise ConfigError(f'{key}.dataset.data_prefix', prefix, 'names no folder of images', fix)


def _check_coco_type(key: str, dataset: Mapping[str, Any]) -> None:
    given = dataset.get('type')
    with DATASETS.switch_scope_and_registry(None) as registry:
        kind = registry.get(given) if isinstance(given, str) and given else given
        coco = registry.get('mmdet.CocoDataset')
    kind = kind if inspect.isclass(kind) else None
    if kind is None or coco is None:
        problem = 'no data set of this name'
        raise ConfigError(f'{key}.dataset.type', type_of(dataset) or given, problem, _COCO)
    parents = [each.__name__ for each in inspect.getmro(kind)]
    own = issubclass(kind, coco) and kind.parse_data_info is coco.parse_data_info
    if own and kind.load_data_list is coco.load_data_list:
        return
    fixes = [fix for name, fix in _INSTEAD.items() if name in parents]
    fix = [*fixes, _COCO if issubclass(kind, coco) else _OTHER][0]
    problem = 'reads its annotations in its own way, and CocoRoleView needs COCO json'
    raise ConfigError(f'{key}.dataset.type', type_of(dataset), problem, fix)


_hosts: ContextVar[dict[str, BaseDataset] | None] = ContextVar('hosts', default=None)


@contextmanager
def shared_hosts() -> Iterator[None]:
    """Let views with the same host data set read its annotations once, and keep them once."""
    token = _hosts.set({})
    try:
        yield
    finally:
        _hosts.reset(token)


def built_host(config: dict[str, Any]) -> Any:
    """A host data set that has read its annotations, or a copy of one that did."""
    known, key = _hosts.get(), repr(config)
    if known is not None and (read := known.get(key)) is not None:
        return same_records(read)
    host = DATASETS.build(config)
    if hasattr(host, 'full_init'):
        host.full_init()  # a config may say lazy_init=True
    if known is not None and isinstance(host, BaseDataset) and host.serialize_data:
        known[key] = host
    return host
