"""A hook by which a run dies where a test wants it to."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from knowswap_mm.engine import atomic_file


@HOOKS.register_module()
class FaultHook(Hook):
    """Sends this process a signal, once a run folder.

    Args:
        name (str): The signal.
        where (str): ``iteration``, ``evaluation``, ``writing`` (half of a checkpoint is on the
            disk) or ``naming`` (all of it is, under its temporary name).
        at (int): The iteration; of files, the first one after it.
    """

    priority = 'NORMAL'

    def __init__(self, name: str, where: str, at: int) -> None:
        self.signal, self.where, self.at = signal.Signals[name], where, at

    def before_train(self, runner: Any) -> None:
        """Look whether it has happened."""
        self.mark = Path(runner.work_dir) / 'fault'

    def _fire(self) -> None:
        if not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), self.signal)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Die at the iteration, or see to it that the next file is never finished."""
        if runner.iter != self.at:
            return
        if self.where == 'iteration':
            self._fire()
        elif self.where in ('writing', 'naming') and not self.mark.exists():
            sync, hook = os.fsync, self

            class Dying:
                """``os`` of the module that writes."""

                O_RDONLY, open, close = os.O_RDONLY, os.open, os.close

                @staticmethod
                def fsync(handle: int) -> None:
                    if hook.where == 'writing':
                        os.ftruncate(handle, os.fstat(handle).st_size // 2)
                    sync(handle)
                    hook._fire()

            atomic_file.os = Dying

    def before_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Die in the first evaluation after the iteration."""
        if self.where == 'evaluation' and runner.iter >= self.at and batch_idx == 1:
            self._fire()
