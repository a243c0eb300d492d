"""What a worker of a data loader makes of signals."""

from __future__ import annotations

import functools
import os
import signal
import threading

from torch.utils.data import get_worker_info


def leave_signals_to_main() -> None:
    """In a worker of a data loader, leave it to the main process what a signal to the run means.

    A cluster that takes a machine back signals every process. If workers ended at once, torch would
    raise an error in the main process, in the midst of the iteration that is to be saved. So a
    worker passes over a SIGTERM that does not come from the main process, and SIGUSR1 and SIGUSR2
    from whomever. It ends with its data loader or with the main process, as ever.

    Elsewhere, and when it is called again, this does nothing.
    """
    if get_worker_info() is not None:
        _leave(os.getpid())


@functools.cache
def _leave(process: int) -> None:
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    # A handler is not told who sent the signal; who waits for it is.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_wait, daemon=True).start()


def _wait() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)  # as torch's own handler does
