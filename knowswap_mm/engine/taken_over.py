"""A checkpoint whose contents are not those of a run."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from knowswap_mm.errors import CheckpointError, SwapError

#: What wrong types and missing fields raise in code that takes a checkpoint of ours for granted.
_ERRORS = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


def taken_over(load: Callable[..., Any]) -> Callable[..., Any]:
    """Let a method of a runner that takes a checkpoint over say so when it cannot.

    Args:
        load (Callable): The method; its first argument is the file.

    Returns:
        Callable: The method, which raises CheckpointError where parts of the file are missing, of
        other types, or do not fit the optimizer.
    """

    @functools.wraps(load)
    def checked(runner: Any, filename: str, *args: Any, **settings: Any) -> Any:
        try:
            found = load(runner, filename, *args, **settings)
            _check_moments(getattr(runner.optim_wrapper, 'optimizer', None))
            return found
        except SwapError:
            raise
        except _ERRORS as error:
            reason = f'{type(error).__name__}: {error}'.splitlines()[0][:300]
            raise CheckpointError(
                f'{filename} cannot be taken over: its state is not that of such a run ({reason}). '
                'Fix: use an earlier checkpoint of the run, or start anew in another work_dir.'
            ) from error

    return checked


def _check_moments(optimizer: Any) -> None:
    if not isinstance(optimizer, torch.optim.Optimizer):
        return
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if not isinstance(value, torch.Tensor) or not value.ndim:
                continue
            if value.shape != parameter.shape:
                shapes = f'{tuple(value.shape)}, its parameter {tuple(parameter.shape)}'
                raise ValueError(f'{name} of the optimizer has shape {shapes}')
            if not bool(torch.isfinite(value).all()):
                raise ValueError(f'{name} of the optimizer is not finite')
