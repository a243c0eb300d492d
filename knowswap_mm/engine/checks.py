"""What is known to be wrong with the run of a config before anything is built."""

from __future__ import annotations

import copy
import inspect
import tempfile
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import Registry
from torch import nn

from knowswap_mm import registry
from knowswap_mm.checks import (
    check_arguments,
    check_mapping,
    check_number,
    check_text,
    check_whole,
    did_you_mean,
)
from knowswap_mm.datasets.cache import SampleCache
from knowswap_mm.datasets.role_dataset import VIEW, RoleDataset, check_roles
from knowswap_mm.engine.config import check_place
from knowswap_mm.errors import ConfigError
from knowswap_mm.registry import class_of
from knowswap_mm.schedule.schedule import check_swap_keys

_OURS = 'knowswap_mm.'
#: Where a config has modules of ours, and the registries that know them.
_PLACES = {
    'model': ('MODELS', 'ACCELERATIONS'),
    'train_dataloader': ('DATASETS', 'DATA_SAMPLERS'),
    'val_dataloader': ('DATASETS', 'DATA_SAMPLERS'),
    'test_dataloader': ('DATASETS', 'DATA_SAMPLERS'),
    'val_evaluator': ('METRICS',),
    'test_evaluator': ('METRICS',),
    'default_hooks': ('HOOKS',),
    'custom_hooks': ('HOOKS',),
    'optim_wrapper': ('OPTIM_WRAPPERS',),
    'param_scheduler': ('PARAM_SCHEDULERS',),
    'log_processor': ('LOG_PROCESSORS',),
}
#: Keys beside the arguments that mmengine takes for itself.
_BY_MMENGINE = dict(
    optim_wrapper=('constructor', 'paramwise_cfg'),
    default_hooks=('priority',),
    custom_hooks=('priority',),
)


def check_config(cfg: Config) -> None:
    """Refuse keys that nothing would read, in ``swap``, ``audit`` and the modules of this package.

    Without it a misspelt key of a later phase, of an audit or of a test data set would be found
    after the training, or never (issue 24).

    Raises:
        ConfigError: Names the key and the nearest one that exists.
    """
    check_swap_keys(cfg.get('swap'))
    for name, kinds in _PLACES.items():
        known = [getattr(registry, kind) for kind in kinds]
        for key, module in _modules(name, cfg.get(name)):
            kind = _class_of_ours(key, module['type'], known)
            if kind is None:
                continue
            read = {k: v for k, v in module.items() if k not in _BY_MMENGINE.get(name, ())}
            check_arguments(key, read, kind)
            if issubclass(kind, RoleDataset):
                # Those of the training data have been called so since there are messages.
                key = key.removeprefix('train_dataloader.')
                check_roles(module.get('roles'), module.get('view', VIEW), key)
                if isinstance(module.get('cache'), Mapping):
                    check_arguments(f'{key}.cache', module['cache'], SampleCache)
    if cfg.get('audit') is not None:
        from knowswap_mm.audit.auditor import build_auditor

        build_auditor(cfg['audit'])


def hand_on_classes(cfg: Config) -> None:
    """Give every role data set of a config, in place, the class lists of ``swap``."""
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        dataset = (cfg.get(name) or {}).get('dataset')
        kind = isinstance(dataset, dict) and class_of(dataset.get('type'), registry.DATASETS)
        if kind and issubclass(kind, RoleDataset):
            dataset['classes'] = copy.deepcopy(cfg['swap']['classes'])


def _modules(key: str, value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(value, Mapping):
        if 'type' in value:
            yield key, value
        for name, each in value.items():
            yield from _modules(f'{key}.{name}', each)
    elif isinstance(value, (list, tuple)):
        for place, each in enumerate(value):
            yield from _modules(f'{key}.{place}', each)


def _class_of_ours(key: str, kind: Any, known: list[Registry]) -> type | None:
    if not isinstance(kind, str) or not kind.startswith(_OURS):
        return None
    for each in known:
        found = class_of(kind, each)
        if found is not None:
            return found if inspect.isclass(found) else None
    names = [f'{_OURS}{name}' for each in known for name in sorted(each.module_dict)]
    raise ConfigError(f'{key}.type', kind, 'unknown type', did_you_mean(kind, names))


_KEY = 'optim_wrapper'


def check_optim_config(config: Any) -> None:
    """Check what mmengine would only assert, or find out in the first step.

    A wrapper that is built already is left alone.

    Raises:
        ConfigError: If a value cannot be used.
    """
    if not isinstance(config, Mapping):
        return
    if 'accumulative_counts' in config:
        check_whole(f'{_KEY}.accumulative_counts', config['accumulative_counts'], 1, 4)
    kind = config.get('type')
    name = kind if isinstance(kind, str) else getattr(kind, '__name__', '')
    if name.rpartition('.')[2] == 'AmpOptimWrapper' and get_device() == 'cpu':
        fix = (
            "use dict(type='knowswap_mm.SwapOptimWrapper', dtype='bfloat16', ...), or OptimWrapper"
        )
        raise ConfigError(f'{_KEY}.type', name, 'needs an accelerator, and there is none', fix)
    clip = config.get('clip_grad')
    if clip is not None and (not isinstance(clip, Mapping) or not set(clip) - {'type'}):
        fix = 'e.g. dict(max_norm=0.1), or None'
        raise ConfigError(f'{_KEY}.clip_grad', clip, 'does not say how to clip', fix)


def check_step(wrapper: OptimWrapper) -> None:
    """Refuse optimizers that compute the loss several times a step.

    Raises:
        ConfigError: If the optimizer is one of them.
    """
    closure = inspect.signature(type(wrapper.optimizer).step).parameters.get('closure')
    if closure is not None and closure.default is closure.empty:
        name = type(wrapper.optimizer).__name__
        problem = 'it needs several forward passes a step, and mmengine makes one'
        raise ConfigError(f'{_KEY}.optimizer.type', name, problem, "use e.g. 'AdamW'")


def check_clipping(wrapper: OptimWrapper) -> None:
    """Check the arguments of clipping, which torch sees in the first step only.

    Raises:
        ConfigError: If torch does not know an argument, or cannot use its value.
    """
    given = wrapper.clip_grad_kwargs
    if not given:
        return
    fix = 'e.g. dict(max_norm=0.1), or dict(type="value", clip_value=0.1)'
    try:
        bound = inspect.signature(wrapper.clip_func).bind([], **given).arguments
    except TypeError as error:
        problem = f'torch cannot clip with it ({error})'
        raise ConfigError(f'{_KEY}.clip_grad', dict(given), problem, fix) from None
    for name in ('max_norm', 'clip_value'):
        check_number(f'{_KEY}.clip_grad.{name}', bound.get(name, 1.0), '> 0', 0.1)


#: Arguments of a data loader that torch refuses, or ignores, without worker processes.
_NEEDS_WORKERS = {
    'persistent_workers': 'workers that persist need workers',
    'prefetch_factor': 'only workers load ahead',
    'timeout': 'only workers can be waited for',
    'multiprocessing_context': 'there are no processes to start',
}


def check_run_config(cfg: Config) -> None:
    """Check the parts of a config that have nothing to do with swaps.

    Raises:
        ConfigError: If a value cannot be used; torch and mmengine would say so with a traceback, in
            the middle of the run, or not at all.
    """
    _check_work_dir(cfg.get('work_dir'))
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if isinstance(cfg.get(key), Mapping):
            _check_loader(key, cfg[key])
    if isinstance(cfg.get('train_cfg'), Mapping):
        _check_train_loop(cfg['train_cfg'])
    if cfg.get('load_from') is not None:
        check_text('load_from', cfg['load_from'], 'host.pth')
    kind = str((cfg.get('model_wrapper_cfg') or {}).get('type', 'MMDistributedDataParallel'))
    if 'MMDistributedDataParallel' not in kind:
        problem = 'cannot wrap a model whose trainable parameters change between phases'
        fix = "use dict(type='MMDistributedDataParallel'), or leave it out"
        raise ConfigError('model_wrapper_cfg.type', kind, problem, fix)
    hooks = cfg.get('custom_hooks') or []
    if not isinstance(hooks, (list, tuple)) or not all(
        isinstance(hook, Hook) or (isinstance(hook, Mapping) and 'type' in hook) for hook in hooks
    ):
        fix = "e.g. [dict(type='EMAHook')]"
        raise ConfigError('custom_hooks', hooks, 'no list of hooks, each with a type', fix)
    _check_schedulers(cfg.get('param_scheduler'))
    _check_epochs(cfg)


def _check_work_dir(folder: Any) -> None:
    """Require a folder that can be written, or made."""
    check_text('work_dir', folder, 'work_dirs/my_swap')
    check_place('work_dir', folder, folder=True)
    above = Path(folder)
    while not above.exists():
        above = above.parent
    try:  # rights do not tell: a file system may be read-only, or full
        with tempfile.TemporaryDirectory(prefix='.knowswap_', dir=above):
            pass
    except OSError as error:
        problem = f'{above} cannot be written to ({error.strerror})'
        fix = 'give another folder, or get the right to write there'
        raise ConfigError('work_dir', folder, problem, fix) from None


def _check_loader(key: str, loader: Mapping[str, Any]) -> None:
    """Check how a data loader works, without its data set, as torch would."""
    workers = loader.get('num_workers', 0)
    check_whole(f'{key}.num_workers', workers, 0, 2)
    for name, why in _NEEDS_WORKERS.items():
        if not workers and loader.get(name):
            fix = f'set {key}.num_workers to 1 or more, or leave {name} out'
            raise ConfigError(f'{key}.{name}', loader[name], f'num_workers is 0, and {why}', fix)
    if loader.get('prefetch_factor') is not None:
        check_whole(f'{key}.prefetch_factor', loader['prefetch_factor'], 1, 2)
    own = key == 'train_dataloader' or loader.get('batch_sampler')  # checked elsewhere, or not used
    if 'batch_size' in loader and not own:
        check_whole(f'{key}.batch_size', loader['batch_size'], 1, 8)


def _check_train_loop(loop: Mapping[str, Any]) -> None:
    """Check when a run evaluates; how long it is, its phases say."""
    if loop.get('by_epoch') or 'Epoch' in str(loop.get('type')):
        return  # refused where the schedule is known
    if 'max_epochs' in loop:
        fix = 'leave it out; give the phases their length, e.g. swap.phase_settings.learn.epochs=2'
        problem = 'a swap runs by iterations, and its phases say how many'
        raise ConfigError('train_cfg.max_epochs', loop['max_epochs'], problem, fix)
    for name in ('val_interval', 'val_begin'):
        if name in loop:
            check_whole(f'train_cfg.{name}', loop[name], int(name == 'val_interval'), 500)
    if loop.get('fast_forward_on_resume'):
        problem = 'a resumed run would get the samples of its start again'
        fix = 'leave it out: samples that were seen are passed over at once anyway'
        raise ConfigError('train_cfg.fast_forward_on_resume', True, problem, fix)


def check_modules(cfg: Config, model: nn.Module) -> None:
    """Check the names of modules that mmengine is asked to change; write out patterns, in place.

    Raises:
        ConfigError: If there is no module of such a name.
    """
    key = 'efficient_conv_bn_eval'
    if cfg.get(key):
        fix = 'leave it out: batch norms of a swap are in evaluation mode anyway'
        raise ConfigError(key, cfg[key], 'it rewrites the code of a plain host', fix)
    key, chosen = 'activation_checkpointing', {}
    for name in checkpointed(cfg):
        found = modules_like(name, model)
        if not found:
            near = f'host.{name}'
            known = bool(modules_like(near, model))
            fix = f'write {near!r}' if known else 'take names of named_modules()'
            raise ConfigError(key, cfg[key], f'the model has no module {name!r}', fix)
        chosen.update(dict.fromkeys(found))
    if chosen:
        cfg[key] = list(chosen)


def checkpointed(cfg: Config) -> list[str]:
    """Names, or patterns, of the modules whose activations are computed again instead of kept."""
    given = cfg.get('activation_checkpointing') or []
    return [given] if isinstance(given, str) else list(given)


def modules_like(pattern: str, model: nn.Module) -> list[str]:
    """Names of modules that fit a pattern, in which a ``*`` is any one step of a name."""
    steps = pattern.split('.')
    return [
        name
        for name, _ in model.named_modules()
        if name
        and len(found := name.split('.')) == len(steps)
        and all(map(fnmatchcase, found, steps))
    ]


def _check_schedulers(given: Any) -> None:
    """Require the config of a scheduler, or a list of such."""
    listed = given if isinstance(given, (list, tuple)) else [given]
    if given is not None and not all(isinstance(c, Mapping) and 'type' in c for c in listed):
        fix = "e.g. [dict(type='CosineAnnealingLR', eta_min=1e-5)]"
        raise ConfigError('param_scheduler', given, 'no scheduler, and no list of them', fix)


def _check_epochs(cfg: Config) -> None:
    """Refuse periodic checkpoints that count epochs: a swap is one epoch of mmengine's."""
    hooks = cfg.get('default_hooks') or {}
    check_mapping('default_hooks', hooks, "dict(checkpoint=dict(type='CheckpointHook'))")
    checkpoint = hooks.get('checkpoint')
    if not isinstance(checkpoint, Mapping):
        return
    by_epoch = checkpoint.get('by_epoch', True)
    if by_epoch and checkpoint.get('interval', -1) != -1:
        fix = 'set by_epoch=False and interval=500, which are iterations'
        problem = 'mmengine counts a whole swap as one epoch, so nothing would be saved before it'
        problem += f' ends; interval is {checkpoint["interval"]}'
        raise ConfigError('default_hooks.checkpoint.by_epoch', by_epoch, problem, fix)
