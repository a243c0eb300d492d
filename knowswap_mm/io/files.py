"""Files and folders that are there whole or not at all, and the cache of derived ones."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from knowswap_mm.checks import check_text
from knowswap_mm.errors import CheckpointError, ConfigError
from knowswap_mm.io.partial_file import (
    PARTIAL,
    is_left,
    partial_file,
    partial_name,
    remove_left,
    try_lock,
)

if TYPE_CHECKING:
    from torch import Tensor


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
    """Write a text, see :func:`write_atomic`."""
    write_atomic(path, lambda file: file.write(text.encode()))


def write_safetensors(path: str | os.PathLike, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, see :func:`write_atomic`.

    ``safetensors.torch.save_file`` makes files that nobody else may read, whatever the umask says.
    """
    from safetensors.torch import save

    write_atomic(path, lambda file: file.write(save(dict(tensors))))


def write_json(path: str | os.PathLike, value: Any, indent: int | None = 2, **options: Any) -> None:
    """Write plain data as json, see :func:`write_atomic`; further options are ``json.dumps``'s."""
    write_text(path, json.dumps(value, indent=indent, **options) + '\n')


def remove_partial(folder: str | os.PathLike, patterns: Iterable[str]) -> list[Path]:
    """Remove what :func:`write_atomic` left when its process was killed; returns what was removed.

    The ``patterns`` are names of the files that were to be written, as for ``glob``. A file that a
    living process writes is locked, and stays; so does one that another machine began within the
    last hour.
    """
    return [path for name in patterns for path in remove_left(Path(folder), f'{name}*{PARTIAL}')]


def _sync_folder(folder: Path) -> None:
    """Make a new name survive a loss of power; some file systems cannot be asked to."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def write_folder(
    out: str | os.PathLike,
    replace: bool = True,
    resume: Callable[[Path], bool] | None = None,
) -> Iterator[Path]:
    """Give a folder to write to, which becomes ``out`` at the end of the block.

    A process that dies leaves ``out`` as it was, or absent if it was about to be replaced; what it
    leaves beside it is removed by the next one that writes there, or gone on with.

    Args:
        out (str | PathLike): The folder to be; those above it are made if need be.
        replace (bool): Whether it takes the place of a folder that is there.
        resume (Callable[[Path], bool] | None): Tells of a folder that a stopped writer left whether
            to go on with it. A block that fails then leaves what it has written. None: the folder
            is always empty, and a block that fails leaves nothing.

    Raises:
        CheckpointError: If nothing can be written there.
        FileExistsError: If there is such a folder, which is not to be replaced.
    """
    out = Path(out).absolute()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        place, lock = _take_left(out, resume) or _new_place(out)
    except OSError as error:
        raise CheckpointError(
            f'{out} could not be written ({error.strerror or error}). Fix: make room on the disk '
            'or choose another folder.'
        ) from error
    done = resume is None
    try:
        new = place / 'new'
        new.mkdir(exist_ok=True)
        yield new
        if os.path.lexists(out):
            if not replace:
                raise FileExistsError(str(out))
            out.rename(place / 'old')
        new.rename(out)
        done = True
    finally:
        os.close(lock)
        if done:
            shutil.rmtree(place, ignore_errors=True)


def _new_place(out: Path) -> tuple[Path, int]:
    """A folder of which nobody else knows the name, and its lock.

    The one to write to lies within, so that it is made with the rights that the user gives.
    """
    place = out.with_name(f'.{partial_name(out)}')
    place.mkdir(mode=0o700)
    lock = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try_lock(lock)
    return place, lock


def _take_left(out: Path, resume: Callable[[Path], bool] | None) -> tuple[Path, int] | None:
    """Remove what killed writers left, but for one to go on with; a living one holds a lock."""
    taken = None
    for place in out.parent.glob(f'.{glob.escape(out.name)}.*{PARTIAL}'):
        if place.is_symlink() or not place.is_dir():
            continue
        try:
            handle = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # gone already, or of another user
            continue
        kept = False
        try:
            if is_left(place, handle):
                kept = taken is None and resume is not None and resume(place / 'new')
                if kept:
                    taken = place, handle
                else:
                    shutil.rmtree(place, ignore_errors=True)
        except OSError:  # gone
            continue
        finally:
            if not kept:
                os.close(handle)
    return taken


def cache_folder(given: str | None = None) -> Path:
    """Folder for files that role views derive from their data; it may be removed at any time.

    By default ``$XDG_CACHE_HOME/knowswap_mm`` or ``~/.cache/knowswap_mm``; for a user without a
    home (in a container), one in the folder for temporary files. It need not exist.
    """
    if given is not None:
        check_text('dataset.roles.*.cache_dir', given, 'work_dirs/cache')
        return Path(given).resolve()
    try:
        default = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    except RuntimeError:  # nobody knows the user
        default = Path(tempfile.gettempdir()) / f'knowswap_mm_{os.getuid()}'
    return Path(default).resolve() / 'knowswap_mm'


def files_digest(paths: Sequence[str]) -> str | None:
    """A name (hexadecimal digits) of what was read from files, by their paths, sizes and times.

    None if a file is missing or in a remote storage.
    """
    digest = hashlib.sha256()
    try:
        for path in paths:
            stat = os.stat(path)
            name = os.path.abspath(path)
            digest.update(f'{name}\0{stat.st_size}\0{stat.st_mtime_ns}\0'.encode())
    except (OSError, ValueError):  # a path may hold a zero byte
        return None
    return digest.hexdigest()[:20]


def holds(path: Path, content: bytes) -> bool:
    """Whether a file is there and holds this: its name, which tells it, does not prove it."""
    try:
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except OSError:
        return False


def write_cached(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file, named by its contents, whole; another process may write the same meanwhile.

    What killed processes left of this file is removed.

    Raises:
        ConfigError: If it cannot be written.
    """
    remove_partial(path.parent, [glob.escape(path.name)])
    try:
        write_atomic(path, write)
    except CheckpointError as error:
        reason = getattr(error.__cause__, 'strerror', None) or error.__cause__
        fix = 'set cache_dir of the roles, or the variable XDG_CACHE_HOME, to another folder'
        problem = f'cannot be written to ({reason})'
        raise ConfigError('dataset.roles.*.cache_dir', str(path.parent), problem, fix) from error
