"""Steps of the optimizer: windows of accumulation, the wrapper, learning rates by phase."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from mmengine.runner import autocast
from torch import nn
from torch.optim import Optimizer

from knowswap_mm.checks import arguments_of, check_keys, check_number, check_whole
from knowswap_mm.compat import OpenScheduler
from knowswap_mm.engine.log import DeviceScalars
from knowswap_mm.errors import CheckpointError, ConfigError
from knowswap_mm.registry import OPTIM_WRAPPERS, PARAM_SCHEDULERS
from knowswap_mm.schedule import SwapSchedule


def begin_windows(runner: Any) -> None:
    """Count the windows of accumulation from the start of a segment, and close the last at its end.

    mmengine counts them from the start of the run: a forget step would apply gradients of the learn
    phase, and a phase shorter than a window would make no step. A last window that is shorter takes
    the mean over its own iterations, as mmengine does at the end of a run. The runner is at the
    start of a segment of a phase, which is the whole phase if nothing was decided, or resumed
    within it.

    Raises:
        CheckpointError: If the run is resumed inside a window, whose gradients are not stored.
    """
    phase = runner.swap_schedule.phase_at(runner.iter)
    segment = phase.segment_at(runner.iter)
    done = runner.iter - segment.begin
    runner.optim_wrapper.initialize_count_status(runner.model, done, segment.length)
    if window_is_open(runner.optim_wrapper):
        raise CheckpointError(
            f'The checkpoint of iteration {runner.iter} lies inside a window of '
            f'optim_wrapper.accumulative_counts (iteration {runner.iter - phase.begin} of '
            f'{phase.name}): the gradients '
            'gathered so far are not in it. Fix: resume from the checkpoint before it, or with the '
            'accumulative_counts of the run that wrote it.'
        )


def window_is_open(optim_wrapper: Any) -> bool:
    """Whether gradients are gathered, between two iterations, that no step has applied yet."""
    return isinstance(optim_wrapper, OptimWrapper) and not optim_wrapper.should_update()


#: How an optimizer computes, not what; it may differ between a run and the one that goes on.
_WAYS = ('foreach', 'fused', 'capturable')


@OPTIM_WRAPPERS.register_module()
class SwapOptimWrapper(OptimWrapper):
    """mmengine's ``OptimWrapper`` with bfloat16, and without a wait for the device in each step.

    In fp32 it computes, bit by bit, what ``OptimWrapper`` does; the norm that clipping finds is
    logged from the device (:class:`DeviceScalars`). bfloat16 has the range of fp32, so there is no
    loss scale: nothing is unscaled or looked through for infinities. It works on the CPU, too.

    State dicts are those of ``OptimWrapper``, and those of mmengine's wrappers can be loaded. The
    present config decides about ``fused``, ``foreach`` and ``capturable``, not the run that is
    resumed: ``optimizer=dict(type='AdamW', fused=True)`` may be added at any time.

    Args:
        optimizer (Optimizer): The optimizer.
        accumulative_counts (int): Iterations a step.
        clip_grad (dict | None): Arguments of torch's ``clip_grad_norm_``; of ``clip_grad_value_``
            with ``type='value'``. ``error_if_nonfinite=True`` waits for the device in each step.
        dtype (str | torch.dtype | None): ``bfloat16`` for autocast, None for the model's own.

    Raises:
        ConfigError: If the dtype is another one.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        accumulative_counts: int = 1,
        clip_grad: dict[str, Any] | None = None,
        dtype: str | torch.dtype | None = None,
    ) -> None:
        name = str(dtype).removeprefix('torch.')
        if name == 'float16':
            fix = "use type='AmpOptimWrapper' with dtype='float16', or dtype='bfloat16'"
            raise ConfigError('optim_wrapper.dtype', dtype, 'float16 needs a loss scale', fix)
        if dtype is not None and name != 'bfloat16':
            fix = "use 'bfloat16', or leave dtype out"
            raise ConfigError('optim_wrapper.dtype', dtype, 'no dtype of autocast', fix)
        super().__init__(optimizer, accumulative_counts, clip_grad)
        self.dtype = None if dtype is None else torch.bfloat16

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast around the forward pass, on the device of the model."""
        with super().optim_context(model):
            if self.dtype is None:
                yield
                return
            device = next(model.parameters()).device.type
            with autocast(device_type=device, dtype=self.dtype):
                yield

    def step(self, **kwargs: Any) -> None:
        """Clip the gradients, if the config says so, and update the parameters."""
        if self.clip_grad_kwargs:
            groups = self.optimizer.param_groups
            parameters = [p for group in groups for p in group['params'] if p.grad is not None]
            if parameters := [p for p in parameters if p.requires_grad]:
                norm = self.clip_func(parameters, **self.clip_grad_kwargs)
                if norm is not None:  # clipping by value gives none
                    DeviceScalars.of(self.message_hub).add({f'train/{self.grad_name}': norm})
        self.optimizer.step(**kwargs)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state, also that of an ``AmpOptimWrapper``, whose loss scale is dropped."""
        state = {key: value for key, value in state_dict.items() if key != 'loss_scaler'}
        own, saved = self.optimizer.param_groups, state['param_groups']
        if len(own) == len(saved):  # otherwise torch says what is wrong
            ways = [{key: group[key] for key in _WAYS if key in group} for group in own]
            state['param_groups'] = [a | b for a, b in zip(saved, ways, strict=True)]
        super().load_state_dict(state)


class PhaseSchedulers:
    """Turns the config's ``param_scheduler`` into the schedulers of each phase.

    Chained mmengine schedulers would not restart: the second starts from the learning rate that the
    first left. So a phase that restarts its schedule gets fresh schedulers whose ``end`` is
    the length of the schedule, unless the config gives one. With ``by_epoch=True`` the unit is the
    phase's epoch and the schedulers step at its multiples; the last epoch of a length that was
    decided may be incomplete.

    Args:
        template (dict | list[dict] | None): The config's ``param_scheduler``.
        schedule (SwapSchedule): The schedule.

    Raises:
        ConfigError: If a scheduler counts epochs in a phase whose length is in iterations.
    """

    def __init__(self, template: Any, schedule: SwapSchedule) -> None:
        if isinstance(template, dict):
            template = [template]
        self.template = [dict(config) for config in template or []]
        self.schedule = schedule
        for phase in schedule.phases:
            self.configs(phase.begin)

    def build(self, runner: Any, iteration: int) -> Any:
        """Build the schedulers that an iteration is under, as mmengine does; None if it has none.

        Raises:
            ConfigError: If one cannot be built.
        """
        configs, key = self.configs(iteration), self._key(iteration)
        return runner.build_param_scheduler(configs, key) if configs else None

    def _key(self, iteration: int) -> str:
        """Where the config has what an iteration is under."""
        first = self.schedule.lr_span(iteration)[0]
        own = first.param_scheduler is not None
        return f'swap.phases.{first.index}.param_scheduler' if own else 'param_scheduler'

    def configs(self, iteration: int) -> list[dict[str, Any]]:
        """Configs for ``Runner.build_param_scheduler`` of the schedule that an iteration has."""
        first, begin, *_ = self.schedule.lr_span(iteration)
        # As it was then: a decision that cuts a schedule short changes no rate before the cut.
        length = self.schedule.as_of(begin).lr_span(begin).length
        chosen = self.template if first.param_scheduler is None else first.param_scheduler
        key, configs = self._key(iteration), []
        for config in copy.deepcopy(list(chosen)):
            kind = config.get('type')
            kind = PARAM_SCHEDULERS.get(kind) if isinstance(kind, str) else kind
            if inspect.isclass(kind):
                names = arguments_of(kind) or config
                check_keys(key, config, ['type', *names, '_scope_', 'convert_to_iter_based'])
            by_epoch = config.setdefault('by_epoch', False)
            rest = by_epoch and (first.epoch_length is None or length % first.epoch_length)
            if rest and not self.schedule.decisions:
                fix = 'set by_epoch=False, or give the length of the phase in epochs'
                problem = f'{self.schedule.phase_at(iteration).name} has no epochs to count'
                raise ConfigError(key, config, problem, fix)
            if config.get('end') is None and 'T_max' not in config:
                config['end'] = -(-length // first.epoch_length) if by_epoch else length
                if self.schedule.decisions:  # the rest of a phase may be shorter than a warm-up
                    config['end'] = max(config['end'], config.get('begin', 0) + 1)
            configs.append(config)
        return configs

    def try_out(self, runner: Any) -> None:
        """Build the schedulers of each phase once, on an optimizer of a parameter of their own.

        So a value that no scheduler takes is named before the evaluation at the start.

        Raises:
            ConfigError: If one cannot be built.
        """
        kept = runner.optim_wrapper
        runner.optim_wrapper = OptimWrapper(torch.optim.AdamW([nn.Parameter(torch.zeros(1))]))
        try:
            for phase in self.schedule.phases:
                self.build(runner, phase.begin)
        finally:
            runner.optim_wrapper = kept


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(OpenScheduler):
    """Linear warm-up, then a cosine down to a part of the rate; both in shares of the length.

    mmengine's ``LinearLR`` and ``CosineAnnealingLR`` together do the same at a length that the
    config knows. The length of a phase is resolved from the data, and may change on the way.

    Args:
        optimizer (Optimizer | OptimWrapper): What it steers.
        warmup (float): Share of the iterations in which the rate rises, in [0, 1).
        min_warmup (int): Iterations of it at least, but no more than half of all.
        end_factor (float): What the rate falls to, as a part of itself, in (0, 1].
        begin (int): First step, as mmengine has it.
        end (int): Where the schedule ends; the length of the phase if the config has none.
        by_epoch (bool): Whether steps are epochs.

    Raises:
        ConfigError: If a value cannot be used.
    """

    def __init__(
        self,
        optimizer: Any,
        warmup: float = 0.05,
        min_warmup: int = 5,
        end_factor: float = 0.01,
        begin: int = 0,
        end: int = 1,
        by_epoch: bool = False,
    ) -> None:
        check_number('param_scheduler.warmup', warmup, 'in [0, 1)', 0.05)
        check_whole('param_scheduler.min_warmup', min_warmup, 0, 5)
        check_number('param_scheduler.end_factor', end_factor, 'in (0, 1]', 0.01)
        self.length, self.end_factor = end - begin, end_factor
        self.rising = min(max(round(warmup * self.length), min_warmup), self.length // 2)
        super().__init__(optimizer, begin=begin, end=end, by_epoch=by_epoch)

    def factor(self, step: int) -> float:
        """What the first rate is multiplied by in a step of the schedule, from 0."""
        if step < self.rising:
            return (step + 1) / (self.rising + 1)
        done = (step - self.rising) / max(self.length - 1 - self.rising, 1)
        return self.end_factor + (1 - self.end_factor) * (1 + math.cos(math.pi * min(done, 1))) / 2
