"""A hook by which a run dies where a test wants it to."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from knowswap_mm.io import files as atomic_file


@HOOKS.register_module()
class FaultHook(Hook):
    """Sends this process a signal, once a run folder.

    Args:
        name (str): The signal.
        where (str): ``iteration``, ``evaluation``, ``writing`` (half of a checkpoint is on the
            disk) or ``naming`` (all of it is, under its temporary name).
        at (int): The iteration; of files, the first one after it.
        workers (bool): Whether workers of data loaders get the signal, too, and before.
    """

    priority = 'NORMAL'

    def __init__(self, name: str, where: str, at: int, workers: bool = False) -> None:
        self.signal, self.where, self.at = signal.Signals[name], where, at
        self.workers = workers

    def before_train(self, runner: Any) -> None:
        """Look whether it has happened."""
        self.mark = Path(runner.work_dir) / 'fault'

    def _fire(self) -> None:
        if not self.mark.exists():
            self.mark.touch()
            if self.workers:  # from another process, as a cluster does it
                pids = [str(worker.pid) for worker in multiprocessing.active_children()]
                assert pids
                subprocess.run(['kill', f'-{self.signal.value}', *pids], check=True)
                time.sleep(0.5)  # if one ends, torch says so here
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
