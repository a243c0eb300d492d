"""Data sets of the hosts over which no role view works, refused before they are built."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from typing import Any

from mmengine.registry import DATASETS

from knowswap_mm.datasets.pipeline_steps import type_of
from knowswap_mm.errors import ConfigError

_XML = (
    "write COCO json once with 'knowswap data-detection voc --source VOCdevkit/VOC2012 --out "
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


def refuse_wrapper(key: str, dataset: Mapping[str, Any]) -> None:
    """Require a data set of images, none that wraps others.

    Args:
        key (str): Config key of the role.
        dataset (Mapping): Config of the host data set.

    Raises:
        ConfigError: If it has data sets within.
    """
    name = type_of(dataset)
    inner = [part for part in ('dataset', 'datasets') if part in dataset]
    if inner or name in _WRAPPERS:
        fix = _WRAPPERS.get(name, 'name the inner data set')
        problem = 'wraps other data sets, and a role needs one of images'
        raise ConfigError(f'{key}.dataset.type', name, problem, fix)


def check_coco_config(key: str, dataset: Mapping[str, Any]) -> None:
    """Require a config that :class:`CocoRoleView` can give its own annotation file.

    Args:
        key (str): Config key of the role.
        dataset (Mapping): Config of the host data set.

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
