"""Decisions of a run about its schedule: taken in all processes alike, and replayed on resume."""

from __future__ import annotations

from typing import Any

from mmengine.dist import is_main_process

from knowswap_mm.distributed.process_group import of_rank_0
from knowswap_mm.engine.optim import window_is_open
from knowswap_mm.errors import CheckpointError, ConfigError
from knowswap_mm.runs.record import note_decisions
from knowswap_mm.schedule import Decision, SwapSchedule
from knowswap_mm.schedule.decisions import replayed


def decide(runner: Any, decision: Decision | None) -> None:
    """Change the schedule of a run from the next iteration on.

    All processes call it together, in ``after_train_iter`` of a hook that runs before checkpoints
    are written (a priority above ``VERY_LOW``), so that the checkpoint of the iteration has the
    decision. What the first process gives counts, be it None for no decision.

    Batches that workers have prefetched are thrown away. Weights and optimizer stay as they are:
    hooks with a method ``after_decision(runner, decision)`` are called at the end, and one of them
    may put the state back that ``decision.to`` names.

    Raises:
        ConfigError: If the decision does not fall after this iteration, or not where gradients of
            a window of accumulation are applied, or does not fit the schedule.
    """
    decision = of_rank_0(decision)
    if decision is None:
        return
    done = runner.iter + 1
    if decision.at != done:
        fix = f'decide in after_train_iter, with at={done}'
        raise ConfigError('decision.at', decision.at, f'{done} iterations are done', fix)
    if window_is_open(runner.optim_wrapper):
        problem = 'lies inside a window of optim_wrapper.accumulative_counts'
        raise ConfigError('decision.at', decision.at, problem, 'decide where the window ends')
    schedule = runner.swap_schedule.decide(decision)
    text = decision.describe(runner.swap_schedule.phases[decision.phase].name)
    _follow(runner, schedule)
    runner.train_loop.dataloader_iterator.skip_iter(done)
    runner.logger.info(f'{text}. The run has {schedule.total} iterations now.')
    if is_main_process():
        note_decisions(runner)
    runner.call_hook('after_decision', decision=decision)


def replay(runner: Any, filename: str, stored: Any) -> None:
    """Take the decisions of a checkpoint once more; the training loop has not begun.

    Args:
        runner (SwapRunner): The runner, with the schedule of its config.
        filename (str): The checkpoint, for messages.
        stored (Any): Dicts of decisions; None in a checkpoint of an earlier version.

    Raises:
        CheckpointError: If they are no decisions about this schedule.
    """
    try:
        schedule = runner.swap_schedule
        for decision in replayed(stored):
            schedule = schedule.decide(decision)
    except ConfigError as error:
        raise CheckpointError(f'{filename} holds decisions that make no sense: {error}') from None
    if schedule.decisions:
        _follow(runner, schedule)
        runner.logger.info(
            f'{len(schedule.decisions)} decisions were taken over; the run has {schedule.total} '
            f'iterations:\n{schedule.describe()}'
        )


def _follow(runner: Any, schedule: SwapSchedule) -> None:
    """Hand a schedule to all who ask it."""
    runner.swap_schedule = runner.swapper.schedule = schedule
    runner.train_dataloader.sampler.schedule = schedule
    runner.phase_schedulers.schedule = schedule
    runner.set_length(schedule.total)
    runner.message_hub.update_info('max_iters', schedule.total)
