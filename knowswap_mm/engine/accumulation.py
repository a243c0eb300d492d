"""Gradient accumulation that ends with a phase."""

from __future__ import annotations

from typing import Any

from mmengine.optim import OptimWrapper

from knowswap_mm.errors import CheckpointError
from knowswap_mm.schedule import SwapPhase


def begin_windows(runner: Any, phase: SwapPhase) -> None:
    """Count the windows of accumulation from the begin of a phase, and close the last at its end.

    mmengine counts them from the begin of the run: a forget step would apply gradients of the learn
    phase, and a phase shorter than a window would make no step. A last window that is shorter takes
    the mean over its own iterations, as mmengine does at the end of a run.

    Args:
        runner (SwapRunner): The runner, at the begin of the phase or resumed within it.
        phase (SwapPhase): The phase.

    Raises:
        CheckpointError: If the run is resumed inside a window, whose gradients are not stored.
    """
    done = runner.iter - phase.begin
    runner.optim_wrapper.initialize_count_status(runner.model, done, phase.length)
    if window_is_open(runner.optim_wrapper):
        raise CheckpointError(
            f'The checkpoint of iteration {runner.iter} lies inside a window of '
            f'optim_wrapper.accumulative_counts (iteration {done} of {phase.name}): the gradients '
            'gathered so far are not in it. Fix: resume from the checkpoint before it, or with the '
            'accumulative_counts of the run that wrote it.'
        )


def window_is_open(optim_wrapper: Any) -> bool:
    """Whether gradients are gathered that no step has applied yet.

    Args:
        optim_wrapper (OptimWrapper): The wrapper, between two iterations.
    """
    return isinstance(optim_wrapper, OptimWrapper) and not optim_wrapper.should_update()
