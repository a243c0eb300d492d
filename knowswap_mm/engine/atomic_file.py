"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from knowswap_mm.errors import CheckpointError
from knowswap_mm.partial_file import PARTIAL, partial_file, remove_left

if TYPE_CHECKING:
    from torch import Tensor

#: What :func:`write_atomic` calls files of a run, and of its adapters, for :func:`remove_partial`.
OURS = tuple(f'{place}*.????????-????????????' for place in ('', 'adapter/', 'adapters/*/'))


def write_atomic(path: str | os.PathLike, write: Callable[[BinaryIO], object]) -> None:
    """Write a file under another name, and give it its name when it lies on the disk.

    Whenever the process or the machine dies, the path holds what it held before or all of what is
    new. A failed attempt leaves nothing behind. Any number of processes may write the same path,
    in containers and on machines that share the folder: the path always holds all of one of them
    (issue 24). The file has the rights of any new file (umask).

    Args:
        path (str | PathLike): The file; its folder is made if need be.
        write (Callable[[BinaryIO], object]): Writes the contents to the file it is given.

    Raises:
        CheckpointError: If the disk is full or the folder cannot be written to.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial_file(path) as (partial, file):
            write(file)
            file.flush()
            os.fsync(file.fileno())
            partial.replace(path)  # before its lock is given up
        _sync_folder(path.parent)
    except OSError as error:
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


def write_safetensors(path: str | os.PathLike, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, see :func:`write_atomic`.

    ``safetensors.torch.save_file`` makes files that nobody else may read, whatever the umask says.

    Args:
        path (str | PathLike): The file.
        tensors (Mapping[str, Tensor]): Tensors by name.
    """
    from safetensors.torch import save

    write_atomic(path, lambda file: file.write(save(dict(tensors))))


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

    A file that a living process writes is locked, and stays; so does one that another machine
    began within the last hour.

    Args:
        folder (str | PathLike): The folder.
        patterns (Iterable[str]): Names of the files that were to be written, as for ``glob``.

    Returns:
        list[Path]: What was removed.
    """
    return [path for name in patterns for path in remove_left(Path(folder), f'{name}*{PARTIAL}')]


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
