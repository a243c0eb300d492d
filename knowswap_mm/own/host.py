"""What a config and a checkpoint say of a pretrained host."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, MODELS, DefaultScope
from torch import nn

from knowswap_mm.console import import_quietly
from knowswap_mm.datasets.host_config import inner_config, is_wrapper, type_of
from knowswap_mm.engine.config import WEIGHTS, open_config
from knowswap_mm.errors import CheckpointError, ConfigError, SwapError, reason_of
from knowswap_mm.io.checkpoints import safe_load, state_dict_of
from knowswap_mm.models.foreign_code import no_foreign_code
from knowswap_mm.models.host_config import one_count, without_pretrained
from knowswap_mm.models.host_state import prepare_state
from knowswap_mm.models.loading import load_weights
from knowswap_mm.own.classification import OwnClassification
from knowswap_mm.own.detection import OwnDetection
from knowswap_mm.own.segmentation import OwnSegmentation
from knowswap_mm.own.task import OwnTask

TASKS = {task.scope: task for task in (OwnClassification(), OwnDetection(), OwnSegmentation())}
#: Keys of a config that count its classes.
COUNT_KEYS = ('num_classes',)


@dataclass
class Host:
    """A pretrained host and all that its config tells for a swap.

    Attributes:
        name (str): Of its config or file, for the run folder.
        task (OwnTask): What it does.
        model (dict): Its config, with the number of old classes and without weight files.
        checkpoint (str): Its weights.
        classes (list[str]): Names in the order of its head.
        pipelines (dict[str, list]): Steps for ``train`` and ``test``.
        data (dict[str, dict]): Its own data sets, ``train`` and ``test``, without a pipeline.
        batch_size (int): Of its own training.
        imports (list[str]): Modules that its config imports.
        notes (list[str]): Decisions that a user should know.
    """

    name: str
    task: OwnTask
    model: dict[str, Any]
    checkpoint: str
    classes: list[str]
    pipelines: dict[str, list[dict[str, Any]]]
    data: dict[str, dict[str, Any]] = field(default_factory=dict)
    batch_size: int = 0
    imports: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_host(
    config: str, checkpoint: str, class_names: list[str] | None
) -> tuple[Host, nn.Module]:
    """Read an ordinary config of mmpretrain, mmdet or mmseg, and its weights.

    Args:
        config (str): The config file.
        checkpoint (str): The weights.
        class_names (list[str] | None): Names of the classes in the order of the head; None takes
            those of the checkpoint, the config or its data.

    Returns:
        tuple[Host, nn.Module]: What they say, and the model with its weights.

    Raises:
        ConfigError: If the config is no such one, or does not tell what is needed.
        CheckpointError: If the weights cannot be read or do not fit.
    """
    if os.path.isdir(config):
        fix = 'give the config file of the pretrained model'
        raise ConfigError('--model', config, 'is a folder', fix)
    if not os.path.isfile(config):
        fix = 'give the path of its config file, or timm:NAME, hf:FOLDER or dinov2-small'
        raise ConfigError('--model', config, 'there is no such file', fix)
    if Path(config).suffix in WEIGHTS:
        fix = 'give the config file; the weights belong to --checkpoint'
        raise ConfigError('--model', config, 'is a file of weights', fix)
    cfg = open_config(config)
    task = TASKS.get(cfg.get('default_scope'))
    model = cfg.get('model')
    if task is None or not isinstance(model, Mapping):
        fix = f'give an ordinary config with a model and default_scope, one of {list(TASKS)}'
        problem = f'default_scope is {cfg.get("default_scope")!r}'
        raise ConfigError('--model', config, problem, fix)
    if 'host' in model:
        fix = 'give the config.py of an export (knowswap export), or that of the pretrained model'
        raise ConfigError('--model', config, 'is the config of a swap', fix)
    import_quietly(task.scope)
    model = without_pretrained(ConfigDict(model).to_dict())
    if 'data_preprocessor' in cfg:  # as a runner does
        model.setdefault('data_preprocessor', cfg.data_preprocessor.to_dict())
    weights = read_checkpoint(checkpoint)
    host = Host(Path(config).stem, task, model, checkpoint, [], {})
    imports = (cfg.get('custom_imports') or {}).get('imports') or []
    host.imports = [imports] if isinstance(imports, str) else list(imports)
    with DefaultScope.overwrite_default_scope(task.scope):
        _take_data(host, cfg)
        host.classes = _class_names(host, cfg, weights, class_names)
        return host, load_module(host, weights)


def read_checkpoint(path: str) -> dict[str, Any]:
    """Read a file of weights; messages name the option.

    Raises:
        CheckpointError: If it cannot be read.
    """
    return safe_load(path, key='--checkpoint')


def _take_data(host: Host, cfg: Config) -> None:
    """The data sets and the pipelines of a config."""
    found = {}
    for split, names in dict(train=('train',), test=('val', 'test')).items():
        loaders = [cfg.get(f'{name}_dataloader') for name in names]
        given = next((each for each in loaders if each and each.get('dataset')), None)
        if given is None:
            continue
        dataset = given.dataset.to_dict()
        found[split] = inner_config(dataset)
        host.pipelines[split] = host.task.steps(found[split].get('pipeline') or ())
        whole = dataset if host.task.scope == 'mmpretrain' else found[split]
        if is_wrapper(dataset) and whole is not dataset:
            host.notes.append(f'{type_of(dataset)} is left out: a swap counts iterations.')
        if place_of(found[split]):
            host.data[split] = whole
        if split == 'train' and type(given.get('batch_size')) is int:
            host.batch_size = given.batch_size
    if not host.pipelines.get('test'):
        host.pipelines['test'] = list(cfg.get('test_pipeline') or host.pipelines.get('train') or ())
    if not host.pipelines['test']:
        fix = 'add test_dataloader with a data set and its pipeline'
        raise ConfigError('--model', cfg.filename, 'has no pipeline for images', fix)
    if not host.pipelines.get('train'):
        host.pipelines['train'] = host.task.train_pipeline(host.pipelines['test'])
        host.notes.append('The config has no pipeline for training: that for testing is used.')


def place_of(dataset: Mapping[str, Any]) -> str | None:
    """The file or folder of a data set; None if its config names none."""
    root, listed = str(dataset.get('data_root') or ''), dataset.get('ann_file')
    prefix = dataset.get('data_prefix')
    if isinstance(prefix, Mapping):
        prefix = next((each for each in prefix.values() if each), '')
    named = listed or prefix
    return os.path.join(root, str(named)) if named else root or None


def _class_names(host: Host, cfg: Config, weights: Mapping[str, Any], given: Any) -> list[str]:
    """Names of the classes from what knows them best, as many as the head has."""
    count = one_count(host.model, COUNT_KEYS)
    sources = {}
    sources['--classes'] = given
    meta = weights.get('meta') if isinstance(weights.get('meta'), Mapping) else {}
    stored = (meta.get('dataset_meta') or {}) if isinstance(meta, Mapping) else {}
    named = stored.get('classes') or meta.get('CLASSES')
    sources['the checkpoint'] = list(named) if isinstance(named, (list, tuple)) else None
    sources['its metainfo'] = list((cfg.get('metainfo') or {}).get('classes') or ())
    for split, dataset in host.data.items():
        told = inner_config(dataset).get('metainfo') or {}
        sources[f'the {split} data of the config'] = list(told.get('classes') or ())
    for split, dataset in host.data.items():
        with DATASETS.switch_scope_and_registry(None) as registry:
            kind = registry.get(str(inner_config(dataset).get('type')))
        known = getattr(kind, 'METAINFO', {}).get('classes')
        sources[f'the {split} data set'] = list(known) if known else _from_data(dataset)
    wrong = []
    for source, names in sources.items():
        if names and len(names) == count and len(set(names)) == count:
            host.notes.append(f'The names of the {count} old classes are from {source}.')
            return [str(name) for name in names]
        if names:
            twice = next((f', {n!r} twice' for n in names if list(names).count(n) > 1), '')
            wrong.append(f'{source} names {len(names)}{twice}')
            if source == '--classes':
                break
    gone = [
        place for d in host.data.values() if (place := place_of(d)) and not os.path.exists(place)
    ]
    wrong += [f'the data that its config names is not there: {place}' for place in gone[:1]]
    told = f' ({"; ".join(wrong)})' if wrong else ''
    fix = '--classes FILE with one a line, in the order of the head'
    if given:
        fix = f'list {count} names, in the order of the head'
    raise ConfigError('--classes', given, f'the head has {count} classes{told}', fix)


def _from_data(dataset: Mapping[str, Any]) -> list[str] | None:
    """Names that the data itself tells, as folders of classes do."""
    try:
        built = DATASETS.build(copy.deepcopy(dict(dataset, pipeline=[])))
        return list(built.metainfo.get('classes') or ()) or None
    except Exception:  # it is not there; what is missing is told where it is needed
        return None


def load_module(host: Host, checkpoint: Mapping[str, Any]) -> nn.Module:
    """Build the model and load its weights, before anything else is done.

    Raises:
        ConfigError: If the model cannot be built.
        CheckpointError: In few words what does not fit.
    """
    try:
        with no_foreign_code('--model', host.model):
            model = MODELS.build(ConfigDict(copy.deepcopy(host.model)))
        prepare_state(model, '--model')
    except SwapError:
        raise
    except Exception as error:  # a model may raise anything
        problem = f'its model cannot be built ({reason_of(error)})'
        raise ConfigError('--model', host.name, problem, 'fix the config') from error
    found = state_dict_of(dict(checkpoint))
    try:
        load_weights(model, found, host.checkpoint)
        return model
    except CheckpointError as error:
        wanted, failed = dict(model.named_parameters()), error
    missing = [key for key in wanted if key not in found]
    other = {
        key: (tuple(found[key].shape), tuple(value.shape))
        for key, value in wanted.items()
        if key in found and found[key].shape != value.shape
    }
    rows = {(a[0], b[0]) for a, b in other.values() if a[:1] and b[:1] and a[1:] == b[1:]}
    count = len(host.classes)
    if other and not missing and len(rows) <= 2 and all(b in (count, count + 1) for _, b in rows):
        has = min(a for a, _ in rows)
        raise CheckpointError(
            f'--checkpoint = {host.checkpoint!r}: it has {has} classes, and the model {count}. '
            'Fix: give the config and the checkpoint of one training.'
        )
    told = [f'no {key}' for key in missing]
    told += [f'{key} is {a}, not {b}' for key, (a, b) in other.items()]
    shown = f'{len(told)} tensors differ ({"; ".join(told[:2])})' if told else f'{failed}'[:300]
    raise CheckpointError(
        f'--checkpoint = {host.checkpoint!r}: does not fit the model; {shown}. Fix: give the '
        'config and the checkpoint of one training; files of timm, Hugging Face and others are '
        'converted by knowswap convert auto.'
    )


def device_of(name: str) -> torch.device:
    """The device that a command works on.

    Raises:
        ConfigError: If there is no such one.
    """
    if name == 'cuda' and not torch.cuda.is_available():
        raise ConfigError('--device', name, 'there is no GPU', 'use --device cpu')
    return torch.device('cuda' if name != 'cpu' and torch.cuda.is_available() else 'cpu')
