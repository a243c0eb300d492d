"""A history of a logged value that is fetched from the device when it is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mmengine.logging import HistoryBuffer


class DeviceHistory(HistoryBuffer):
    """A history whose newest values may still be on the device.

    Whoever reads it, or adds a number to it, gets what mmengine's own buffer would hold: the values
    are fetched first. Copies and pickles are plain buffers, so no checkpoint knows this class.

    Args:
        fetch (Callable): Calls :meth:`record` for every value that is still on the device.
        log_history (Sequence): Values that are known already.
        count_history (Sequence): Their counts.
        max_length (int): So many of the newest values are kept.
    """

    def __init__(
        self,
        fetch: Callable[[], None],
        log_history: Sequence = (),
        count_history: Sequence = (),
        max_length: int = 1_000_000,
    ) -> None:
        super().__init__(log_history, count_history, max_length)
        self._fetch = fetch

    def record(self, value: bool | int | float) -> None:
        """Add a value that came from the device.

        Args:
            value (bool | int | float): The value.
        """
        if len(self.data[0]):
            super().update(value)
        else:  # as the message hub begins a buffer: the first value decides on its dtype
            super().__init__([value], [1], self.max_length)

    @property
    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """All values and their counts."""
        self._fetch()
        return super().data

    def update(self, log_val: int | float, count: int = 1) -> None:
        """Add a number behind the values on the device."""
        self._fetch()
        super().update(log_val, count)

    def statistics(self, method_name: str, *args: Any, **kwargs: Any) -> Any:
        """A statistic by its name."""
        self._fetch()
        return super().statistics(method_name, *args, **kwargs)

    def mean(self, window_size: int | None = None) -> np.ndarray:
        """Mean of the newest values."""
        self._fetch()
        return super().mean(window_size)

    def max(self, window_size: int | None = None) -> np.ndarray:
        """Largest of the newest values."""
        self._fetch()
        return super().max(window_size)

    def min(self, window_size: int | None = None) -> np.ndarray:
        """Smallest of the newest values."""
        self._fetch()
        return super().min(window_size)

    def current(self) -> np.ndarray:
        """The newest value."""
        self._fetch()
        return super().current()

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return HistoryBuffer, (*self.data, self.max_length)
