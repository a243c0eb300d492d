"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from knowswap_mm.errors import CheckpointError


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
    partial = path.with_name(f'{path.name}.partial')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open('wb') as file:
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
