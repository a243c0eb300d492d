"""Files that are there whole or not at all."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from knowswap_mm.errors import CheckpointError

_PARTIAL = '.partial'


def write_atomic(path: str | os.PathLike, write: Callable[[BinaryIO], object]) -> None:
    """Write a file under another name, and give it its name when it lies on the disk.

    Whenever the process or the machine dies, the path holds what it held before or all of what is
    new. A failed attempt leaves nothing behind.

    Args:
        path (str | PathLike): The file; its folder is made if need be.
        write (Callable[[BinaryIO], object]): Writes the contents to the file it is given.

    Raises:
        CheckpointError: If the disk is full or the folder cannot be written to.
    """
    path = Path(path)
    partial = path.with_name(path.name + _PARTIAL)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open('wb') as file:
            _try_lock(file)
            write(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):  # there is no such folder
            partial.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise CheckpointError(
            f'{path} could not be written ({error.strerror or error}). What was saved before is '
            'untouched. Fix: make room on the disk or choose another work_dir, then go on with '
            '--resume.'
        ) from error


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text, see :func:`write_atomic`.

    Args:
        path (str | PathLike): The file.
        text (str): Its contents.
    """
    write_atomic(path, lambda file: file.write(text.encode()))


def write_json(path: str | os.PathLike, value: Any, indent: int | None = 2) -> None:
    """Write plain data as json, see :func:`write_atomic`.

    Args:
        path (str | PathLike): The file.
        value: The data.
        indent (int | None): As of ``json.dumps``.
    """
    write_text(path, json.dumps(value, indent=indent) + '\n')


def remove_partial(folder: str | os.PathLike, patterns: Iterable[str]) -> list[Path]:
    """Remove what :func:`write_atomic` left when its process was killed.

    A file that a living process writes is locked, and stays.

    Args:
        folder (str | PathLike): The folder.
        patterns (Iterable[str]): Names of the files that were to be written, as for ``glob``.

    Returns:
        list[Path]: What was removed.
    """
    removed = []
    for path in [path for name in patterns for path in Path(folder).glob(name + _PARTIAL)]:
        if path.is_symlink() or not path.is_file():
            continue
        try:
            with path.open('rb+') as file:
                if _try_lock(file):
                    path.unlink()
                    removed.append(path)
        except OSError:  # of another user, or gone already
            continue
    return removed


def _try_lock(file: BinaryIO) -> bool:
    """Lock a file until it is closed; False if another process has it, or nobody can."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    """Make a new name survive a loss of power; some file systems cannot be asked to."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
