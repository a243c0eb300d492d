"""Hooks of mmengine and the hosts that do not do in a swap what they promise."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from mmengine.hooks import CheckpointHook, EarlyStoppingHook, EMAHook, Hook, ParamSchedulerHook

from knowswap_mm.compat import ParamScheduler
from knowswap_mm.errors import ConfigError

_PIPELINES = 'put the pipeline that you want into train_dataloader.dataset.roles'
_NORMS = 'leave it out: statistics of batch norms are frozen in a swap'
_SELF = 'leave it out: it belongs to pretraining without labels'
#: By name of the class: why it is refused, and what to do.
_REFUSED = {
    'PipelineSwitchHook': ('it sets a pipeline that a role data set does not read', _PIPELINES),
    'SwitchRecipeHook': ('it changes data set and loss of a plain host by epochs', _PIPELINES),
    'YOLOXModeSwitchHook': ('it changes data set and head of a plain host by epochs', _PIPELINES),
    'MeanTeacherHook': ('a swap has no teacher', "use dict(type='EMAHook') for an average"),
    'SetEpochInfoHook': ('a swap is one epoch of mmengine', 'leave it out'),
    'PreciseBNHook': ('it has nothing to measure', _NORMS),
    'SyncNormHook': ('it would change frozen statistics', _NORMS),
    'SyncBuffersHook': ('it would round frozen buffers', _NORMS),
    'RFSearchHook': ('it replaces convolutions, which the checkpoint has not', 'leave it out'),
    'SetAdaptiveMarginsHook': ('it sets the margins of a plain host', 'set them in model.host'),
    'WarmupParamHook': ('it sets a parameter of a plain host', 'leave it out'),
    'ClassNumCheckHook': ('it does not know role data sets', 'leave it out: every swap checks it'),
    'SimSiamHook': ('it sets the learning rate of a predictor', _SELF),
    'SwAVHook': ('it freezes prototypes', _SELF),
    'DenseCLHook': ('it weighs a contrastive loss', _SELF),
    'PrepareProtoBeforeValLoopHook': ('it prepares a retriever', 'leave it out'),
}
#: Methods that mmengine calls once in a swap, at its start and its end.
_ONCE = ('before_train_epoch', 'after_train_epoch')
#: These know what they do there.
_FINE = (CheckpointHook, ParamSchedulerHook)
_PACKAGES = ('mmengine.', 'knowswap_mm.')


def check_hooks(runner: Any, total: int) -> None:
    """Refuse hooks that break a swap, or do nothing in its ``total`` iterations without saying so.

    Raises:
        ConfigError: If there is such a hook.
    """
    for hook in runner.hooks:
        name = type(hook).__name__
        for kind in type(hook).__mro__:
            if kind.__name__ in _REFUSED and not kind.__module__.startswith('knowswap_mm.'):
                problem, fix = _REFUSED[kind.__name__]
                raise ConfigError('custom_hooks', name, problem, fix)
        if isinstance(hook, EMAHook):
            _check_average(hook, total)
        elif getattr(hook, 'by_epoch', None) is True and not isinstance(hook, CheckpointHook):
            problem = 'mmengine counts a whole swap as one epoch'
            fix = 'set it to False and give iterations'
            raise ConfigError(f'custom_hooks.{name}.by_epoch', True, problem, fix)
        elif _acts_once(hook):
            runner.logger.warning(
                f'{name} acts at the start or end of an epoch, and mmengine counts a whole swap as '
                'one: it acts once.'
            )
    if runner.param_schedulers and not any(isinstance(h, ParamSchedulerHook) for h in runner.hooks):
        problem = 'param_scheduler is given, and nothing would apply it'
        fix = "leave it out, or write dict(type='ParamSchedulerHook')"
        raise ConfigError('default_hooks.param_scheduler', None, problem, fix)
    if not runner.evaluates:
        for key, name in monitored(runner):
            fix = 'give val_dataloader, val_evaluator and val_cfg, or leave it out'
            raise ConfigError(key, name, 'the run has no evaluation to find it in', fix)


def monitored(runner: Any) -> list[tuple[str, str]]:
    """The metrics that hooks and schedulers of a run wait for, each with its config key."""
    found = []
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and hook.save_best:
            key = 'default_hooks.checkpoint.save_best'
            found += [(key, name) for name in hook.save_best]
        elif isinstance(hook, EarlyStoppingHook):
            found.append(('custom_hooks.EarlyStoppingHook.monitor', hook.monitor))
    for scheduler in runner.param_schedulers or []:
        if isinstance(scheduler, ParamScheduler) and hasattr(scheduler, 'monitor'):
            found.append(('param_scheduler.monitor', scheduler.monitor))
    return found


def missing_metric(runner: Any, metrics: Mapping[str, Any]) -> ConfigError | None:
    """Compare what is waited for with the metrics of an evaluation, by name.

    It gives what to raise if a metric of that name does not exist.
    """
    for key, name in monitored(runner):
        if name == 'auto' and metrics and not runner.message_hub.runtime_info.get('best_score'):
            first = next(iter(metrics))
            runner.logger.warning(f"{key} = 'auto' follows {first!r}, the first of the metrics.")
        if name in metrics or name == 'auto':
            continue
        near = difflib.get_close_matches(name, list(metrics), 3, 0.3) or list(metrics)[:12]
        fix = f'use one of {sorted(near)}'
        return ConfigError(key, name, 'no metric of the evaluation has this name', fix)
    return None


def _check_average(hook: EMAHook, total: int) -> None:
    key = f'custom_hooks.{type(hook).__name__}'
    if hook.enabled_by_epoch:
        problem = 'mmengine counts a whole swap as one epoch'
        raise ConfigError(f'{key}.begin_epoch', hook.begin_epoch, problem, 'use begin_iter')
    if hook.begin_iter > total:
        problem = f'the swap has {total} iterations, so nothing would be averaged'
        raise ConfigError(f'{key}.begin_iter', hook.begin_iter, problem, 'give a smaller one')


def _acts_once(hook: Hook) -> bool:
    kind = type(hook)
    if isinstance(hook, _FINE) or kind.__module__.startswith(_PACKAGES):
        return False
    return any(getattr(kind, name) is not getattr(Hook, name) for name in _ONCE)
