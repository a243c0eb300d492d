"""Folders that are there whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

from knowswap_mm.errors import CheckpointError
from knowswap_mm.partial_file import PARTIAL, is_left, partial_name, try_lock


@contextmanager
def write_folder(out: str | os.PathLike, replace: bool = True) -> Iterator[Path]:
    """Give an empty folder to write to, which becomes ``out`` at the end of the block.

    A process that dies leaves ``out`` as it was, or absent if it was about to be replaced; what it
    leaves beside it is removed by the next one that writes there.

    Args:
        out (str | PathLike): The folder to be; those above it are made if need be.
        replace (bool): Whether it takes the place of a folder that is there.

    Raises:
        CheckpointError: If nothing can be written there.
        FileExistsError: If there is such a folder, which is not to be replaced.
    """
    out = Path(out).absolute()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(out)
        # Inside of it, so that the folder itself is made with the rights that the user gives.
        place = out.with_name(f'.{partial_name(out)}')
        place.mkdir(mode=0o700)
    except OSError as error:
        raise CheckpointError(
            f'{out} could not be written ({error.strerror or error}). Fix: make room on the disk '
            'or choose another folder.'
        ) from error
    lock = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try_lock(lock)
        new = place / 'new'
        new.mkdir()
        yield new
        if os.path.lexists(out):
            if not replace:
                raise FileExistsError(str(out))
            out.rename(place / 'old')
        new.rename(out)
    finally:
        os.close(lock)
        shutil.rmtree(place, ignore_errors=True)


def _remove_stale(out: Path) -> None:
    """Remove what writers left that were killed; a living one holds a lock."""
    for place in out.parent.glob(f'.{escape(out.name)}.*{PARTIAL}'):
        if place.is_symlink() or not place.is_dir():
            continue
        try:
            handle = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # gone already, or of another user
            continue
        try:
            if is_left(place, handle):
                shutil.rmtree(place, ignore_errors=True)
        except OSError:  # gone
            continue
        finally:
            os.close(handle)
