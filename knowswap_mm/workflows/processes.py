"""Commands in processes of their own, several at a time."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import IO

from knowswap_mm.cli.options import command_of

#: Processes at work, each with a group of its own for its data workers.
RUNNING: set[subprocess.Popen] = set()


class RunFailed(Exception):
    """A command of a run came back with an error; the message is the end of its output."""


def call(work_dir: Path, name: str, *arguments: str | Path) -> None:
    """Run a command of ``knowswap``; its output is added to output.log.

    Raises:
        RunFailed: If it comes back with an error.
    """
    log = work_dir / 'output.log'
    with open(log, 'a') as output:
        code = execute(command_of(name, *arguments), output)
    if code:
        tail = [line for line in log.read_text().splitlines() if line.strip()][-3:]
        raise RunFailed(' '.join(' '.join(tail).split())[-300:])


def execute(command: list[str], output: IO[str]) -> int:
    """Run a command in a process of its own and return its exit code."""
    environment = {'OMP_NUM_THREADS': '1', **os.environ}
    process = subprocess.Popen(
        command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
    )
    RUNNING.add(process)
    try:
        return process.wait()
    finally:
        RUNNING.discard(process)


def stop_all() -> None:
    """End what is at work: a run that went on alone would meet its own continuation."""
    for process in list(RUNNING):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
