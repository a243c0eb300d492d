"""Where derived files are kept between runs."""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from knowswap_mm.partial_file import PARTIAL, partial_file, remove_left
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


def write_once(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file whole or not at all; another process may write the same contents meanwhile.

    What killed processes left of this file is removed.

    Args:
        path (Path): The file, whose name tells its contents.
        write (Callable[[Path], object]): Writes the contents to the path it is given, which has
            the same ending, and exists.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_left(path.parent, f'{glob.escape(path.name)}.*{PARTIAL}{glob.escape(path.suffix)}')
    with partial_file(path, path.suffix) as (partial, file):
        write(partial)
        os.fsync(file.fileno())
        os.replace(partial, path)
