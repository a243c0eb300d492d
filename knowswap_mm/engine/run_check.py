"""What is known to be wrong with the run of a config before anything is built."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from torch import nn

from knowswap_mm.engine.tool_config import check_place
from knowswap_mm.errors import ConfigError
from knowswap_mm.value_checks import check_mapping, check_text, check_whole

#: Arguments of a data loader that torch refuses, or ignores, without worker processes.
_NEEDS_WORKERS = {
    'persistent_workers': 'workers that persist need workers',
    'prefetch_factor': 'only workers load ahead',
    'timeout': 'only workers can be waited for',
    'multiprocessing_context': 'there are no processes to start',
}
_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def check_run_config(cfg: Config) -> None:
    """Check the parts of a config that have nothing to do with swaps.

    Args:
        cfg (Config): The config.

    Raises:
        ConfigError: If a value cannot be used; torch and mmengine would say so with a traceback, in
            the middle of the run, or not at all.
    """
    check_work_dir(cfg.get('work_dir'))
    for key in _LOADERS:
        if isinstance(cfg.get(key), Mapping):
            check_loader(key, cfg[key])
    if isinstance(cfg.get('train_cfg'), Mapping):
        check_train_loop(cfg['train_cfg'])
    load_from = cfg.get('load_from')
    if load_from is not None:
        check_text('load_from', load_from, 'host.pth')
    wrapper = cfg.get('model_wrapper_cfg')
    kind = str((wrapper or {}).get('type', 'MMDistributedDataParallel'))
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
    check_schedulers(cfg.get('param_scheduler'))
    check_epochs(cfg)


def check_work_dir(folder: Any) -> None:
    """Require a folder that can be written, or made.

    Args:
        folder: The config's ``work_dir``.

    Raises:
        ConfigError: If it is none.
    """
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


def check_loader(key: str, loader: Mapping[str, Any]) -> None:
    """Check how a data loader works, without its data set.

    Args:
        key (str): Its config key.
        loader (Mapping): Its config.

    Raises:
        ConfigError: If torch would refuse an argument.
    """
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


def check_train_loop(loop: Mapping[str, Any]) -> None:
    """Check when a run evaluates; how long it is, its phases say.

    Args:
        loop (Mapping): The config's ``train_cfg``.

    Raises:
        ConfigError: If a value cannot be used.
    """
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
        problem = 'a resumed run would get the samples of its begin again'
        fix = 'leave it out: samples that were seen are passed over at once anyway'
        raise ConfigError('train_cfg.fast_forward_on_resume', True, problem, fix)


def check_modules(cfg: Config, model: nn.Module) -> None:
    """Check the names of modules that mmengine is asked to change.

    Args:
        cfg (Config): The config.
        model (nn.Module): The model.

    Raises:
        ConfigError: If there is no module of such a name.
    """
    known = {name for name, _ in model.named_modules()}
    key = 'efficient_conv_bn_eval'
    if cfg.get(key):
        fix = 'leave it out: batch norms of a swap are in evaluation mode anyway'
        raise ConfigError(key, cfg[key], 'it rewrites the code of a plain host', fix)
    key = 'activation_checkpointing'
    for name in checkpointed(cfg):
        if name not in known:
            near = f'host.{name}'
            fix = f'write {near!r}' if near in known else 'take a name of named_modules()'
            raise ConfigError(key, cfg[key], f'the model has no module {name!r}', fix)


def checkpointed(cfg: Config) -> list[str]:
    """Names of the modules whose activations are computed again instead of kept.

    Args:
        cfg (Config): The config.
    """
    given = cfg.get('activation_checkpointing') or []
    return [given] if isinstance(given, str) else list(given)


def check_schedulers(given: Any) -> None:
    """Require the config of a scheduler, or a list of such.

    Args:
        given: The config's ``param_scheduler``.

    Raises:
        ConfigError: If it is something else.
    """
    listed = given if isinstance(given, (list, tuple)) else [given]
    if given is not None and not all(isinstance(c, Mapping) and 'type' in c for c in listed):
        fix = "e.g. [dict(type='CosineAnnealingLR', eta_min=1e-5)]"
        raise ConfigError('param_scheduler', given, 'no scheduler, and no list of them', fix)


def check_epochs(cfg: Config) -> None:
    """Refuse periodic checkpoints that count epochs: a swap is one epoch of mmengine's.

    Args:
        cfg (Config): The config.

    Raises:
        ConfigError: If there are such.
    """
    hooks = cfg.get('default_hooks') or {}
    check_mapping('default_hooks', hooks, "dict(checkpoint=dict(type='CheckpointHook'))")
    checkpoint = hooks.get('checkpoint')
    if not isinstance(checkpoint, Mapping):
        return
    if checkpoint.get('by_epoch', True) and checkpoint.get('interval', -1) != -1:
        fix = 'set by_epoch=False and interval=500, which are iterations'
        problem = 'mmengine counts a whole swap as one epoch, so nothing would be saved before it'
        problem += f' ends; interval is {checkpoint["interval"]}'
        raise ConfigError(
            'default_hooks.checkpoint.by_epoch', checkpoint.get('by_epoch', True), problem, fix
        )
