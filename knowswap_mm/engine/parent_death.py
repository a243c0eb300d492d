"""Processes that end with the one that started them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

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
