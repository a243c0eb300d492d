"""Log lines that say where in the swap the run is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from mmengine.runner import LogProcessor

from knowswap_mm.evaluation import RoleMetric
from knowswap_mm.registry import LOG_PROCESSORS
from knowswap_mm.roles import ROLES
from knowswap_mm.schedule import SwapSchedule


@LOG_PROCESSORS.register_module()
class SwapLogProcessor(LogProcessor):
    """mmengine's log lines, with the phase in front and the metric of each role first.

    A line of training begins with the phase, the iterations done in it, and the time until it
    ends; one of an evaluation with the primary metric of each role in percent. What is logged as
    numbers, to json, TensorBoard and others, is what mmengine logs: metrics are named
    ``<role>/<metric>``.

    See :class:`mmengine.runner.LogProcessor` for the arguments.
    """

    def get_log_after_iter(self, runner: Any, batch_idx: int, mode: str) -> tuple[dict, str]:
        """A line of training; those of other modes are mmengine's.

        Args:
            runner (Runner): The runner.
            batch_idx (int): Batch of the loop.
            mode (str): ``train``, ``val`` or ``test``.

        Returns:
            tuple[dict, str]: The numbers and the line.
        """
        tag, line = super().get_log_after_iter(runner, batch_idx, mode)
        schedule = getattr(runner, 'swap_schedule', None)
        if mode == 'train' and schedule is not None:
            where = describe_position(
                schedule, runner.iter, runner.message_hub.runtime_info.get('eta')
            )
            line = f'{where}  {line}'
        return tag, line

    def get_log_after_epoch(
        self, runner: Any, batch_idx: int, mode: str, with_non_scalar: bool = False
    ) -> tuple[dict, str]:
        """A line of an evaluation.

        Args:
            runner (Runner): The runner.
            batch_idx (int): Batch of the loop.
            mode (str): ``val`` or ``test``.
            with_non_scalar (bool): Whether the numbers hold what is no number, too.

        Returns:
            tuple[dict, str]: The numbers and the line.
        """
        tag, line = super().get_log_after_epoch(runner, batch_idx, mode, with_non_scalar)
        loop = runner.val_loop if mode == 'val' else runner.test_loop
        for metric in getattr(loop.evaluator, 'metrics', ()):
            if isinstance(metric, RoleMetric):
                values = [(role, tag.get(f'{role}/{metric.primary}')) for role in ROLES]
                shown = '  '.join(
                    f'{role} {100 * value / metric.scale:.1f}'
                    for role, value in values
                    if value is not None
                )
                return tag, f'{shown}  ({metric.primary}, %)  {line}' if shown else line
        return tag, line


def describe_position(schedule: SwapSchedule, iteration: int, eta: float | None) -> str:
    """Where in its phase a run is after an iteration.

    Args:
        schedule (SwapSchedule): The schedule.
        iteration (int): The iteration, from 0.
        eta (float | None): Seconds until the end of the run, if they are known.
    """
    phase = schedule.phase_at(iteration)
    done = iteration + 1
    width = len(str(phase.length))
    text = f'{phase.name} [{done - phase.begin:>{width}}/{phase.length}]'
    left = schedule.total - done
    if eta is None or not left or phase.end == schedule.total:
        return text
    seconds = timedelta(seconds=int(eta * (phase.end - done) / left))
    return f'{text} ends in {seconds}'
