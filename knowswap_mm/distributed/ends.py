"""A runner that leaves no processes behind."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from knowswap_mm.compat import OpenRunner

_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's sys/prctl.h


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent is gone; elsewhere, do nothing.

    The parent is, strictly, the thread that started this process.
    """
    if not sys.platform.startswith('linux'):
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # it died just before
        os.kill(os.getpid(), signal.SIGKILL)


def die_with_launcher() -> None:
    """Let a process that torchrun started end with it; do nothing in any other one.

    torchrun starts its processes in sessions of their own. If it is killed itself (out of memory,
    ``kill -9``), they would train on unseen, beside those of the run that is started next, and
    write into the same folder.
    """
    if 'TORCHELASTIC_RUN_ID' not in os.environ:
        return
    die_with_parent()
    # It may have died before this process came here. Then the first process of the machine is the
    # parent, which in a container may be torchrun itself.
    if os.getppid() == 1 and sys.platform.startswith('linux'):
        if b'torch' not in Path('/proc/1/cmdline').read_bytes():
            os.kill(os.getpid(), signal.SIGKILL)


def start_worker(function: Callable[[int], Any] | None, number: int) -> None:
    """Let a worker end with its main process, and leave to that what a signal to the run means.

    - A worker whose main process was killed would wait, forever, for somebody to take the batch
      that it has made.
    - A cluster that takes a machine back signals every process. If workers ended at once, torch
      would raise an error in the main process, in the midst of the iteration that is to be saved.
      So a worker passes over a SIGTERM that does not come from the main process, and SIGUSR1 and
      SIGUSR2 from whomever.

    Args:
        function (Callable | None): What the loader's ``worker_init_fn`` was.
        number (int): Of the worker.
    """
    die_with_parent()
    for each in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(each, signal.SIG_IGN)
    # A handler is not told who sent the signal; who waits for it is.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_wait, daemon=True).start()
    if function is not None:
        function(number)


def _wait() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)  # as torch's own handler does


class TidyRunner(OpenRunner):
    """mmengine's runner, whose processes end when they should.

    - Loader workers that outlive an epoch end with the training or test. Otherwise they live until
      Python ends, where torch waits five seconds for each of them and then kills it.
    - A worker whose process is killed ends as well, and no worker ends before, see
      :func:`start_worker`.
    - Processes of a torchrun that is killed end with it, see :func:`die_with_launcher`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        die_with_launcher()  # first of all: it may die while its processes wait for one another
        super().__init__(*args, **kwargs)

    def train(self) -> Any:
        """Train."""
        try:
            return super().train()
        finally:
            self.end_workers()

    def val(self) -> dict[str, float]:
        """Evaluate on the validation data."""
        try:
            return super().val()
        finally:
            self.end_workers()

    def test(self) -> dict[str, float]:
        """Evaluate on the test data."""
        try:
            return super().test()
        finally:
            self.end_workers()

    @staticmethod
    def build_dataloader(dataloader: Any, *args: Any, **kwargs: Any) -> DataLoader:
        """Build a loader, whose workers begin with :func:`start_worker`."""
        loader = OpenRunner.build_dataloader(dataloader, *args, **kwargs)
        if isinstance(loader, DataLoader) and loader is not dataloader:
            loader.worker_init_fn = partial(start_worker, loader.worker_init_fn)
        return loader
