"""Scripts in a process of their own that need not import everything again."""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers.continual_runs import run_tool
from tests.helpers.doc_blocks import REPOSITORY, Block

MAIN = REPOSITORY / 'knowswap_mm' / '__main__.py'


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


@contextmanager
def prepared_for_forks() -> Iterator[None]:
    """Commands that are forked meanwhile find their libraries, and load data by themselves.

    Processes that load data take longer to start than a small run takes without them. And mmengine
    looks for garbage whenever it opens a data set, which takes half a second among all libraries.
    """
    for name in ('mmpretrain.models', 'mmdet.models', 'mmseg.models', 'peft', 'matplotlib.pyplot'):
        importlib.import_module(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('os.cpu_count', lambda: 1)
        gc.collect()
        gc.freeze()
        yield
    gc.unfreeze()


#: What a shell would do more than start a program.
_SHELL = re.compile(r'[|&;<>$`~*?()]')


def fork_block(block: Block, folder: Path) -> str:
    """Run the commands of a page as :func:`run_block` does, without ten seconds of imports each.

    Args:
        block: Lines of ``knowswap`` and ``python FILE``, with nothing else of a shell.
        folder: A stand-in for a clone.
    """
    said = ''
    for line in block.text.replace('\\\n', ' ').splitlines():
        program, *words = shlex.split(line)
        assert program in ('knowswap', 'python') and not _SHELL.search(line), line
        script = MAIN if program == 'knowswap' else folder / words.pop(0)
        done = run_script(script, *words, folder=folder, seconds=900)
        assert done.returncode == 0, f'{line}\n{done.stdout[-2000:]}{done.stderr[-3000:]}'
        said += done.stdout
    return said


def _work(script: Path, arguments: tuple, folder: Path, written: list[Path]) -> None:
    """What the process ends with (``SystemExit``, an error) multiprocessing says as Python does."""
    os.chdir(folder)
    for number, path in enumerate(written, 1):
        with open(path, 'wb', buffering=0) as file:
            os.dup2(file.fileno(), number)
    # Those of the test gather what is written for pytest.
    sys.stdout, sys.stderr = (open(n, 'w', buffering=1, closefd=False) for n in (1, 2))
    run_tool(script, *arguments)
