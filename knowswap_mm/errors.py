"""Exceptions for input that a user can fix."""

from __future__ import annotations

from typing import Any


class SwapError(Exception):
    """Base class of all errors that the package raises on purpose."""


class ConfigError(SwapError, ValueError):
    """A config value that cannot be used.

    Args:
        key (str): The config key as a user would write it, e.g. ``swap.phases.0.kind``.
        value: What was received.
        problem (str): What is wrong with it.
        fix (str): What to write instead.
    """

    def __init__(self, key: str, value: Any, problem: str, fix: str) -> None:
        self.key = key
        self.value = value
        shown = repr(value)
        shown = shown if len(shown) <= 200 else f'{shown[:197]}...'
        super().__init__(f'{key} = {shown}: {problem}. Fix: {fix}.')


class FileError(SwapError, ValueError):
    """A file that cannot be read as what it should be.

    Args:
        path: The file.
        problem (str): What is wrong with it.
        fix (str): What to do.
    """

    def __init__(self, path: Any, problem: str, fix: str) -> None:
        self.path, self.problem, self.fix = path, problem, fix
        super().__init__(f'{path} {problem}. Fix: {fix}.')


class CheckpointError(SwapError):
    """A weight file that does not fit the model or must not be read."""


class SampleError(SwapError):
    """A sample of a data set that cannot be read or decoded."""


class PhaseError(SwapError):
    """A batch or a checkpoint that does not belong to the current phase."""


def reason_of(error: BaseException) -> str:
    """Class of an error and the first line of what it says, for a message of ours."""
    return f'{type(error).__name__}: {error}'.splitlines()[0][:300]
