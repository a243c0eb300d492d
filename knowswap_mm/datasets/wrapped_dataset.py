"""Data sets of mmengine and mmpretrain that are wrapped around others."""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any


def inner_sample(dataset: Any, index: int) -> tuple[Any, int]:
    """The data set that holds a sample itself, through concatenation, repetition, balancing, folds.

    Args:
        dataset: A data set, maybe a wrapper, fully initialised.
        index (int): Where the wrapper has the sample.

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
    """The data sets within wrappers that hold samples themselves.

    Args:
        dataset: A data set, maybe a wrapper.
    """
    inner = getattr(dataset, 'datasets', None) or getattr(dataset, 'dataset', None)
    if inner is None:
        return [dataset]
    parts = inner if isinstance(inner, (list, tuple)) else [inner]
    return [leaf for part in parts for leaf in inner_datasets(part)]


def inner_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config of the first data set within wrappers; the config itself if it is none.

    Args:
        config (Mapping): Config of a data set.
    """
    while 'pipeline' not in config:
        inner = config.get('dataset') or (config.get('datasets') or [None])[0]
        if not isinstance(inner, Mapping):
            break
        config = inner
    return config


def set_pipeline(config: Any, steps: Sequence[Any]) -> None:
    """Give a data set a pipeline, in place; within wrappers, each of those that hold samples.

    Args:
        config (MutableMapping): Config of a data set.
        steps (Sequence): The steps; each data set gets a copy.
    """
    if not is_wrapper(config):
        config['pipeline'] = copy.deepcopy(list(steps))
        return
    for each in config.get('datasets') or [config['dataset']]:
        set_pipeline(each, steps)


def is_wrapper(config: Mapping[str, Any]) -> bool:
    """Whether a config describes a wrapper.

    Args:
        config (Mapping): Config of a data set.
    """
    return isinstance(config.get('dataset'), Mapping) or isinstance(config.get('datasets'), list)
