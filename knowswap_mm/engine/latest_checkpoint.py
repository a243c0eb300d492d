"""Which checkpoint a run goes on from."""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.runner import Runner

from knowswap_mm.engine.atomic_file import write_atomic
from knowswap_mm.engine.safe_load import safe_load
from knowswap_mm.errors import CheckpointError

LATEST_FILE = 'last_checkpoint'
#: Names of a run's checkpoints.
CHECKPOINTS = ('iter_*.pth', 'phase*.pth')


def write_latest(folder: str | os.PathLike, checkpoint: str | os.PathLike) -> None:
    """Note a checkpoint that is whole as the last one.

    Args:
        folder (str | PathLike): The folder of the run.
        checkpoint (str | PathLike): The checkpoint.
    """
    write_atomic(Path(folder) / LATEST_FILE, lambda file: file.write(str(checkpoint).encode()))


def save_latest(runner: Runner, name: str, **settings: Any) -> Path:
    """Save the state of a run in its folder, and note it as the last one.

    Args:
        runner (Runner): The runner.
        name (str): Name of the file.
        **settings: As of ``runner.save_checkpoint``.

    Returns:
        Path: The file.

    Raises:
        CheckpointError: If it cannot be written.
    """
    path = Path(runner.work_dir) / name
    runner.save_checkpoint(runner.work_dir, name, by_epoch=False, **settings)
    if is_main_process():
        write_latest(runner.work_dir, path)
    return path


def last_of_run(runner: Runner) -> Path | None:
    """The checkpoint from which a run would go on if it ended now; none is read.

    Args:
        runner (Runner): The runner, in training.

    Returns:
        Path | None: The last one that this run wrote, else the one that it was resumed from, if it
        is there; None if there is none. What an earlier run left in the folder does not count.
    """
    note = Path(runner.work_dir) / LATEST_FILE
    with suppress(OSError):
        named = Path(note.read_text(encoding='utf-8', errors='replace').strip())
        if note.stat().st_mtime_ns >= runner.began_ns and named.is_file():
            return named
    point = runner._resume_point
    found = point is not None and point.resumes and Path(point.path).is_file()
    return Path(point.path) if found else None


def latest_checkpoint(folder: str | os.PathLike) -> Path | None:
    """Find the newest checkpoint of a run that can be read, see :func:`read_latest`.

    Args:
        folder (str | PathLike): The folder of the run.

    Returns:
        Path | None: The checkpoint; None if there is none at all.

    Raises:
        CheckpointError: If there are checkpoints, but none of them is whole.
    """
    found = read_latest(folder)
    return None if found is None else found[0]


def read_latest(
    folder: str | os.PathLike, run: str | None = None
) -> tuple[Path, dict[str, Any]] | None:
    """Read the newest checkpoint of a run that can be read.

    The one that ``last_checkpoint`` names comes first (in this folder, should it have been moved),
    then the others from the newest to the oldest. Damaged ones are named in a warning.

    Args:
        folder (str | PathLike): The folder of the run.
        run (str | None): The run that it must be of; None takes any. An earlier run may have left
            its checkpoints in the folder.

    Returns:
        tuple[Path, dict] | None: The checkpoint and what is in it; None if there is none at all.

    Raises:
        CheckpointError: If there are checkpoints, but none of them is whole.
    """
    folder, found = Path(folder), []
    if (folder / LATEST_FILE).is_file():
        named = Path((folder / LATEST_FILE).read_text(encoding='utf-8', errors='replace').strip())
        found += [named, folder / named.name]
    others = [path for pattern in CHECKPOINTS for path in folder.glob(pattern)]
    found += sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)
    found = [path for path in dict.fromkeys(found) if os.path.isfile(path)]
    damaged = 0
    for path in found:
        try:
            checkpoint = safe_load(path)
            problem = _problem(path, checkpoint)
            damaged += problem is not None
            if problem is None:
                if run is None or checkpoint['swap'].get('run', run) == run:
                    return path, checkpoint
                problem = f'{path} is of an earlier run in this folder.'
        except CheckpointError as error:
            problem, damaged = str(error), damaged + 1
        warnings.warn(f'Not resumed from: {problem}', stacklevel=2)
    if damaged:
        raise CheckpointError(
            f'None of the {len(found)} checkpoints in {folder} can be resumed from. Fix: start '
            'anew in another work_dir, or without --resume.'
        )
    return None


def _problem(path: Path, checkpoint: dict[str, Any]) -> str | None:
    if 'optimizer' not in checkpoint or not isinstance(checkpoint.get('swap'), dict):
        return f'{path} holds weights but no training state.'
    if checkpoint['swap'].get('window_open'):
        return f'{path} lacks the gradients of a window of accumulation that was open.'
    return None
