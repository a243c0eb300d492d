"""How a worker of a data loader begins."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from knowswap_mm.engine.parent_death import die_with_parent


def start_worker(function: Callable[[int], Any] | None, number: int) -> None:
    """Let a worker end with its main process, and leave to that what a signal to the run means.

    - A worker whose main process was killed would wait, for ever, for somebody to take the batch
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
