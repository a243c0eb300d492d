"""How long the device waits for data, whatever the host does meanwhile."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from knowswap_mm.registry import HOOKS


@HOOKS.register_module()
class DeviceWaitHook(Hook):
    """Writes ``device_waits.json``: milliseconds without work before each iteration.

    Two marks are put into the device's queue: when the host has launched an iteration, and when it
    has the next batch. If the device still had work, they lie side by side. Without a GPU the
    host's clock is read. Evaluation is left out.
    """

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.marks: list[tuple[int, Any, Any]] = []
        self.last: Any = None

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict[str, Any] | None = None
    ) -> None:
        """The batch is there."""
        if self.last is not None:
            self.marks.append((runner.iter, self.last, _mark()))

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """All of the iteration is launched."""
        self.last = _mark()

    def before_val(self, runner: Runner) -> None:
        """What comes now is no waiting."""
        self.last = None

    def after_train(self, runner: Runner) -> None:
        """Read the marks and write."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        waits = {number: _between(begin, end) for number, begin, end in self.marks}
        Path(runner.work_dir, 'device_waits.json').write_text(json.dumps(waits))


def _mark() -> Any:
    if not torch.cuda.is_available():
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _between(begin: Any, end: Any) -> float:
    return 1000 * (end - begin) if isinstance(begin, float) else begin.elapsed_time(end)
