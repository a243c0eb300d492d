"""Threads that talk to a store."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable


def start_beside(run: Callable[[], None], ended: threading.Event, name: str) -> None:
    """Start a thread beside the others of a process, which ends before the interpreter does.

    A thread that is inside a call of torch's store when the interpreter ends is torn down there,
    and the process aborts ("terminate called without an active exception", exit code -6), although
    its work was done.

    Args:
        run (Callable): What the thread does. It returns soon after ``ended`` was set.
        ended (Event): Is set when the process exits.
        name (str): Name of the thread.
    """
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()

    def end() -> None:
        ended.set()
        thread.join(10)  # a store whose machine is gone may not answer

    atexit.register(end)
