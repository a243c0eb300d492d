"""What ran, where, how long, with how much memory."""

from __future__ import annotations

import json
import os
import platform
import resource
import shlex
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from knowswap_mm.engine.atomic_file import write_json
from knowswap_mm.version import __version__

RUN_FILE = 'starts.json'


class RunLog:
    """Keeps ``starts.json``: one entry for each time the run was started or resumed.

    An entry has ``command``, ``iteration`` (at which it began), ``started``, ``processes``,
    ``device``, ``versions``, and at the end ``seconds``, ``host_memory`` (largest of the process,
    in MiB) and ``device_memory`` (largest that torch took, in MiB; None without CUDA).

    Args:
        folder (str | Path): Folder of the run.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / RUN_FILE
        self._clock = time.monotonic()
        self._entries: list[dict[str, Any]] = []

    def begin(self, iteration: int, processes: int) -> None:
        """Add an entry; a run from the beginning drops those of an earlier one.

        Args:
            iteration (int): Iterations done.
            processes (int): Processes that train.
        """
        if iteration:
            self._entries = read_run_log(self.path.parent)
        cuda = torch.cuda.is_available()
        self._entries.append(
            dict(
                command=command_line(),
                iteration=iteration,
                started=datetime.now().astimezone().isoformat(timespec='seconds'),
                processes=processes,
                device=torch.cuda.get_device_name() if cuda else f'CPU ({platform.machine()})',
                versions=dict(
                    knowswap_mm=__version__,
                    torch=torch.__version__,
                    python=platform.python_version(),
                ),
            )
        )
        self._clock = time.monotonic()
        self._write()

    def end(self) -> None:
        """Complete the entry."""
        peak = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None
        self._entries[-1].update(
            seconds=round(time.monotonic() - self._clock, 1),
            host_memory=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            device_memory=None if peak is None else round(peak),
        )
        self._write()

    def _write(self) -> None:
        write_json(self.path, self._entries, indent=1)


def command_line() -> str:
    """The command of this process, with paths inside the current folder relative to it."""
    here = f'{os.getcwd()}{os.sep}'
    program, *arguments = (part.removeprefix(here) for part in sys.argv)
    if Path(program).name in ('knowswap', '__main__.py'):
        return shlex.join(['knowswap', *arguments])
    return shlex.join(['python', program, *arguments])


def read_run_log(folder: str | Path) -> list[dict[str, Any]]:
    """The entries of a run.

    Args:
        folder (str | Path): Folder of the run.

    Returns:
        list[dict]: See :class:`RunLog`; empty if there is no whole file.
    """
    try:
        found = json.loads((Path(folder) / RUN_FILE).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return []
    return found if isinstance(found, list) else []
