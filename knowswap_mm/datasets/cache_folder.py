"""Where derived files are kept between runs."""

from __future__ import annotations

import glob
import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from knowswap_mm.errors import CheckpointError, ConfigError
from knowswap_mm.value_checks import check_text


def cache_folder(given: str | None = None) -> Path:
    """Folder for files that role views derive from their data; it may be removed at any time.

    Args:
        given (str | None): The folder of the config; by default ``$XDG_CACHE_HOME/knowswap_mm`` or
            ``~/.cache/knowswap_mm``; for a user without a home (in a container), one in the folder
            for temporary files.

    Returns:
        Path: The folder. It need not exist.
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
    """A name for what was read from files; it changes with their paths, sizes and times.

    Args:
        paths (Sequence[str]): The files.

    Returns:
        str | None: Hexadecimal digits; None if a file is missing or in a remote storage.
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
    """Whether a file is there and holds this: its name alone does not prove it.

    Args:
        path (Path): The file, whose name tells its contents.
        content (bytes): What it should hold.
    """
    try:
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except OSError:
        return False


def write_cached(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file whole or not at all; another process may write the same contents meanwhile.

    What killed processes left of this file is removed.

    Args:
        path (Path): The file, whose name tells its contents.
        write (Callable[[BinaryIO], object]): Writes the contents to the file it is given.

    Raises:
        ConfigError: If it cannot be written.
    """
    from knowswap_mm.engine.atomic_file import (  # only now: the engine imports this
        remove_partial,
        write_atomic,
    )

    remove_partial(path.parent, [glob.escape(path.name)])
    try:
        write_atomic(path, write)
    except CheckpointError as error:
        reason = getattr(error.__cause__, 'strerror', None) or error.__cause__
        fix = 'set cache_dir of the roles, or the variable XDG_CACHE_HOME, to another folder'
        problem = f'cannot be written to ({reason})'
        raise ConfigError('dataset.roles.*.cache_dir', str(path.parent), problem, fix) from error
