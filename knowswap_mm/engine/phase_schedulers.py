"""Learning rate schedules phase by phase."""

from __future__ import annotations

import copy
import inspect
from typing import Any

from mmengine.registry import PARAM_SCHEDULERS

from knowswap_mm.errors import ConfigError
from knowswap_mm.schedule import SwapPhase, SwapSchedule
from knowswap_mm.value_checks import arguments_of, check_keys


class PhaseSchedulers:
    """Turns the config's ``param_scheduler`` into the schedulers of each phase.

    Chained mmengine schedulers would not restart: the second starts from the learning rate that the
    first left. So a phase that restarts its schedule gets fresh schedulers whose ``end`` is
    the length of the schedule, unless the config gives one. With ``by_epoch=True`` the unit is the
    phase's epoch and the schedulers step at its multiples.

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
            self.configs(phase)

    def configs(self, phase: SwapPhase) -> list[dict[str, Any]]:
        """Scheduler configs for the schedule that runs in a phase.

        Args:
            phase (SwapPhase): The phase.

        Returns:
            list[dict]: Configs for ``Runner.build_param_scheduler``.
        """
        first, length = self.schedule.lr_span(phase)
        chosen = self.template if first.param_scheduler is None else first.param_scheduler
        configs = []
        for config in copy.deepcopy(list(chosen)):
            kind = config.get('type')
            kind = PARAM_SCHEDULERS.get(kind) if isinstance(kind, str) else kind
            if inspect.isclass(kind):
                own = first.param_scheduler is not None
                key = f'swap.phases.{first.index}.param_scheduler' if own else 'param_scheduler'
                names = arguments_of(kind) or config
                check_keys(key, config, ['type', *names, '_scope_', 'convert_to_iter_based'])
            by_epoch = config.setdefault('by_epoch', False)
            if by_epoch and (first.epoch_length is None or length % first.epoch_length):
                fix = 'set by_epoch=False, or give the length of the phase in epochs'
                problem = f'{phase.name} has no epochs to count'
                raise ConfigError('param_scheduler', config, problem, fix)
            if config.get('end') is None and 'T_max' not in config:
                config['end'] = length // first.epoch_length if by_epoch else length
            configs.append(config)
        return configs
