"""What is checked of an optimizer's config before it is built."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from mmengine.device import get_device
from mmengine.optim import OptimWrapper

from knowswap_mm.errors import ConfigError
from knowswap_mm.value_checks import check_whole

_KEY = 'optim_wrapper'


def check_optim_config(config: Any) -> None:
    """Check what mmengine would only assert, or find out in the first step.

    Args:
        config: The config's ``optim_wrapper``; one that is built already is left alone.

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

    Args:
        wrapper (OptimWrapper): The wrapper.

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

    Args:
        wrapper (OptimWrapper): The wrapper.

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
        value = bound.get(name, 1.0)
        if type(value) not in (int, float) or not value > 0:
            raise ConfigError(f'{_KEY}.clip_grad.{name}', value, 'not a number > 0', 'e.g. 0.1')
