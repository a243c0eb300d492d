"""The launcher of a training process."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's sys/prctl.h


def die_with_launcher() -> None:
    """Ask Linux to kill this process when the torchrun that started it is gone.

    torchrun starts its processes in sessions of their own. If it is killed itself (out of memory,
    ``kill -9``), they would train on unseen, beside those of the run that is started next, and
    write into the same folder. Does nothing elsewhere, and in processes without a launcher.
    """
    if not sys.platform.startswith('linux') or 'TORCHELASTIC_RUN_ID' not in os.environ:
        return
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # it died just before
        os.kill(os.getpid(), signal.SIGKILL)
