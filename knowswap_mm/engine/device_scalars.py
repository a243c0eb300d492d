"""Values that are to be logged, kept on the device until somebody reads them."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from mmengine.logging import HistoryBuffer, MessageHub
from torch import Tensor

from knowswap_mm.engine.device_history import DeviceHistory

#: A device and a dtype; values of one kind are fetched together.
Kind = tuple[torch.device, torch.dtype]


class DeviceScalars:
    """Gives scalars to a message hub without waiting for the device.

    ``MessageHub.update_scalar`` turns every tensor into a number at once, and the host waits each
    time until the device has come so far. Here the values of a step are stacked on the device (a
    copy, so that nobody's later change shows), and the hub gets a :class:`DeviceHistory` for each
    key, in the order in which it would have met the keys. The first one that is read fetches all
    values of all keys, in one copy a kind.

    Args:
        hub (MessageHub): The hub; take :meth:`of`, so that all writers to a hub share one object.
    """

    #: So many values are fetched even if nobody reads them, to bound the memory.
    LIMIT: ClassVar[int] = 20_000

    _known: ClassVar[weakref.WeakKeyDictionary[MessageHub, DeviceScalars]]
    _known = weakref.WeakKeyDictionary()

    def __init__(self, hub: MessageHub) -> None:
        self._hub = weakref.proxy(hub)
        self._entries: list[tuple[DeviceHistory, Kind]] = []
        self._stacks: dict[Kind, list[Tensor]] = {}

    @classmethod
    def of(cls, hub: MessageHub) -> DeviceScalars:
        """The one of a hub.

        Args:
            hub (MessageHub): The hub.
        """
        if hub not in cls._known:
            cls._known[hub] = cls(hub)
        return cls._known[hub]

    @torch.no_grad()
    def add(self, values: Mapping[str, Any]) -> None:
        """Hand values over; plain numbers go to the hub at once.

        Args:
            values (Mapping): Tensors of one element, or numbers, by the key of the hub.
        """
        groups: dict[Kind, list[Tensor]] = {}
        for key, value in values.items():
            if not isinstance(value, Tensor) or value.numel() != 1:
                self._hub.update_scalar(key, value)  # which refuses what is no scalar
                continue
            kind = (value.device, value.dtype)
            self._entries.append((self._history(key), kind))
            groups.setdefault(kind, []).append(value.reshape(()) if value.ndim else value)
        for kind, group in groups.items():
            self._stacks.setdefault(kind, []).append(torch.stack(group))
        if len(self._entries) >= self.LIMIT:
            self.fetch()

    def fetch(self) -> None:
        """Give the hub all values as numbers; this waits for the device."""
        if not self._entries:
            return
        entries, self._entries = self._entries, []
        stacks, self._stacks = self._stacks, {}
        numbers = {kind: iter(torch.cat(parts).tolist()) for kind, parts in stacks.items()}
        for history, kind in entries:
            history.record(next(numbers[kind]))

    def _history(self, key: str) -> DeviceHistory:
        histories = self._hub.log_scalars
        history = histories.get(key)
        if isinstance(history, DeviceHistory):
            return history
        if history is None:
            self._hub.update_scalar(key, 0.0)  # so that the hub knows the key as one to be saved
            history = HistoryBuffer()
        histories[key] = DeviceHistory(self.fetch, *history.data, history.max_length)
        return histories[key]
