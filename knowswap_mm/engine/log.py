"""What is logged: numbers that stay on the device as long as they can, and lines by phase."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any, ClassVar

import numpy as np
import torch
from mmengine.hooks import LoggerHook, RuntimeInfoHook
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import LogProcessor
from torch import Tensor

from knowswap_mm.console import ShortLine
from knowswap_mm.evaluation import RoleMetric
from knowswap_mm.registry import HOOKS, LOG_PROCESSORS
from knowswap_mm.roles import APART, ROLES
from knowswap_mm.runs.outcome import POINT
from knowswap_mm.schedule import SwapSchedule

#: Values of each logged term in a checkpoint; 16 bytes each.
KEPT = 1000


def bounded(
    scalars: Mapping[str, HistoryBuffer], processor: LogProcessor
) -> dict[str, HistoryBuffer]:
    """Cut histories to what a log line still looks at; a resumed run logs the same with them.

    mmengine keeps each value since the start of the run, so that each checkpoint is larger than
    the one before (issue 24). All values are in the log files. If one of the processor's windows
    is the whole run, nothing is cut.
    """
    windows = [processor.window_size, *(c.get('window_size') for c in processor.custom_cfg)]
    if 'global' in windows:
        return dict(scalars)
    kept = max([KEPT, *(window for window in windows if isinstance(window, int))])
    found = {}
    for name, history in scalars.items():
        values, counts = history.data
        found[name] = HistoryBuffer(values[-kept:], counts[-kept:], history.max_length)
    return found


def _fetching(name: str) -> Callable[..., Any]:
    """A method of mmengine's buffer that fetches the values on the device first."""
    plain = getattr(HistoryBuffer, name)

    @functools.wraps(plain)
    def method(self: DeviceHistory, *args: Any, **kwargs: Any) -> Any:
        self._fetch()
        return plain(self, *args, **kwargs)

    return method


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
        """Add a value that came from the device."""
        if len(self.data[0]):
            super().update(value)
        else:  # as the message hub begins a buffer: the first value decides on its dtype
            super().__init__([value], [1], self.max_length)

    @property
    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """All values and their counts."""
        self._fetch()
        return super().data

    update, statistics, mean, max, min, current = map(
        _fetching, ('update', 'statistics', 'mean', 'max', 'min', 'current')
    )

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return HistoryBuffer, (*self.data, self.max_length)


@torch.no_grad()
def numbers_of(tensors: Sequence[Tensor]) -> list[list[float]]:
    """The numbers in tensors ``(n,)``, in one copy for each device and dtype.

    This waits for the device.
    """
    kinds: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for place, tensor in enumerate(tensors):
        kinds.setdefault((tensor.device, tensor.dtype), []).append(place)
    found: list[list[float]] = [[] for _ in tensors]
    for places in kinds.values():
        numbers = iter(torch.cat([tensors[place] for place in places]).tolist())
        for place in places:
            found[place] = list(islice(numbers, len(tensors[place])))
    return found


class DeviceScalars:
    """Gives scalars to a message hub without waiting for the device.

    ``MessageHub.update_scalar`` turns every tensor into a number at once, and the CPU waits each
    time until the device has come so far. Here the values of a step are stacked on the device (a
    copy, so that nobody's later change shows), and the hub gets a :class:`DeviceHistory` for each
    key, in the order in which it would have met the keys. The first one that is read fetches all
    values of all keys, in one copy a kind.

    Args:
        hub (MessageHub): The hub; take :meth:`of`, so that all writers to a hub share one object.
    """

    #: So many values are fetched even if nobody reads them, to bound the memory.
    LIMIT: ClassVar[int] = 20_000

    _known: ClassVar[Any] = weakref.WeakKeyDictionary()

    def __init__(self, hub: MessageHub) -> None:
        self._hub = weakref.proxy(hub)
        self._waiting: list[tuple[list[DeviceHistory], Tensor]] = []
        self._count = 0

    @classmethod
    def of(cls, hub: MessageHub) -> DeviceScalars:
        """The one of a hub."""
        if hub not in cls._known:
            cls._known[hub] = cls(hub)
        return cls._known[hub]

    @torch.no_grad()
    def add(self, values: Mapping[str, Any]) -> None:
        """Hand over numbers, or tensors of one element, by the key of the hub.

        Plain numbers go to the hub at once.
        """
        groups: dict[Any, tuple[list[DeviceHistory], list[Tensor]]] = {}
        for key, value in values.items():
            if not isinstance(value, Tensor) or value.numel() != 1:
                self._hub.update_scalar(key, value)  # which refuses what is no scalar
                continue
            histories, group = groups.setdefault((value.device, value.dtype), ([], []))
            histories.append(self._history(key))
            group.append(value.reshape(()) if value.ndim else value)
        for histories, group in groups.values():
            self._waiting.append((histories, torch.stack(group)))
            self._count += len(group)
        if self._count >= self.LIMIT:
            self.fetch()

    def fetch(self) -> None:
        """Give the hub all values as numbers; this waits for the device."""
        if not self._waiting:
            return
        waiting, self._waiting, self._count = self._waiting, [], 0
        fetched = numbers_of([stack for _, stack in waiting])
        for (histories, _), numbers in zip(waiting, fetched, strict=True):
            for history, number in zip(histories, numbers, strict=True):
                history.record(number)

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


@HOOKS.register_module()
class DeviceScalarsHook(RuntimeInfoHook):
    """mmengine's ``RuntimeInfoHook``, but the terms of the loss stay on the device until needed.

    They are fetched, all in one copy, when a :class:`LoggerHook` is about to log and whenever else
    somebody reads them: for a checkpoint, in another hook. What is logged and saved is the same.
    Put it in the place of the other one::

        default_hooks = dict(runtime_info=dict(type='knowswap_mm.DeviceScalarsHook'))

    The CPU then runs ahead of the device between two log steps. ``time`` and ``data_time`` of an
    iteration are times of the CPU; the step that logs waits for the device and has the rest.
    """

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Take the terms over."""
        scalars = DeviceScalars.of(runner.message_hub)
        if outputs is not None:
            scalars.add({f'train/{key}': value for key, value in outputs.items()})
        # Before the timer looks at the clock: the wait belongs to the time of this iteration, not
        # to the loading of the next batch.
        if any(_logs_now(hook, batch_idx) for hook in runner.hooks):
            scalars.fetch()

    def after_train(self, runner: Any) -> None:
        """Leave nothing on the device."""
        super().after_train(runner)
        DeviceScalars.of(runner.message_hub).fetch()


def _logs_now(hook: Any, batch_idx: int) -> bool:
    return isinstance(hook, LoggerHook) and hook.every_n_inner_iters(batch_idx, hook.interval)


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
        """A line of training; those of other modes are mmengine's."""
        tag, line = super().get_log_after_iter(runner, batch_idx, mode)
        schedule = getattr(runner, 'swap_schedule', None)
        if mode == 'train' and schedule is not None:
            eta = runner.message_hub.runtime_info.get('eta')
            position = describe_position(schedule, runner.iter, eta)
            loss = f'  loss {tag["loss"]:.4f}' if 'loss' in tag else ''
            line = ShortLine(f'{position}  {line}', f'{position}{loss}', progress=True)
        return tag, line

    def get_log_after_epoch(
        self, runner: Any, batch_idx: int, mode: str, with_non_scalar: bool = False
    ) -> tuple[dict, str]:
        """A line of an evaluation."""
        tag, line = super().get_log_after_epoch(runner, batch_idx, mode, with_non_scalar)
        loop = runner.val_loop if mode == 'val' else runner.test_loop
        for metric in getattr(loop.evaluator, 'metrics', ()):
            if isinstance(metric, RoleMetric):
                found = [text for role in ROLES if (text := describe_role(role, metric, tag))]
                shown = f'{"  ".join(found)}  ({metric.primary}, %)'
                return tag, ShortLine(f'{shown}  {line}', shown) if found else line
        return tag, line


def describe_role(role: str, metric: RoleMetric, values: dict[str, float]) -> str:
    """The primary metric of a role in percent, and apart where that is another story."""
    name = f'{role}/{metric.primary}'
    found = [values.get(key) for key in (name, f'{name}{APART}')]
    value, apart = (None if each is None else 100 * each / metric.scale for each in found)
    if value is None:
        return ''
    other = apart is not None and apart - value >= POINT
    return f'{role} {value:.1f}' + (f' ({apart:.1f} where no forgotten class is)' if other else '')


def describe_position(schedule: SwapSchedule, iteration: int, eta: float | None) -> str:
    """Where in its phase a run is after an iteration, counted from 0.

    ``eta`` are the seconds until the end of the run, if they are known.
    """
    phase = schedule.phase_at(iteration)
    done = iteration + 1
    width = len(str(phase.length))
    text = f'{phase.name} [{done - phase.begin:>{width}}/{phase.length}]'
    left = schedule.total - done
    if eta is None or not left or phase.end == schedule.total:
        return text
    return f'{text} ends in {timedelta(seconds=int(eta * (phase.end - done) / left))}'
