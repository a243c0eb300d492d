"""Scripts in a process of their own that need not import everything again."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

from tests.helpers.continual_runs import run_tool


def run_script(
    script: Path, *arguments: object, folder: Path, seconds: float = 200
) -> subprocess.CompletedProcess[str]:
    """Run a script as a command in a process that is forked from the one that tests.

    Where the start of an interpreter is not what is tested, this takes seconds less: all libraries
    are there. Exit code and output are those of the command.

    Args:
        script: The script.
        *arguments: Of its command line.
        folder: Where it runs.
        seconds: How long it may take.

    Raises:
        subprocess.TimeoutExpired: If it takes longer; it is killed then.
    """
    written = [folder / f'.forked{number}.txt' for number in (1, 2)]
    context = multiprocessing.get_context('fork')
    process = context.Process(target=_work, args=(script, arguments, folder, written))
    process.start()
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise subprocess.TimeoutExpired([str(script), *map(str, arguments)], seconds)
    said = [path.read_text() for path in written]
    for path in written:
        path.unlink()
    return subprocess.CompletedProcess([str(script)], process.exitcode, *said)


def _work(script: Path, arguments: tuple, folder: Path, written: list[Path]) -> None:
    """What the process ends with (``SystemExit``, an error) multiprocessing says as Python does."""
    os.chdir(folder)
    for number, path in enumerate(written, 1):
        with open(path, 'wb', buffering=0) as file:
            os.dup2(file.fileno(), number)
    # Those of the test gather what is written for pytest.
    sys.stdout, sys.stderr = (open(n, 'w', buffering=1, closefd=False) for n in (1, 2))
    run_tool(script, *arguments)
