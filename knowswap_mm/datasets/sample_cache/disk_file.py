"""A file for kept samples on a disk."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from knowswap_mm.datasets.sample_cache.pack_file import USE_LOCK

SUFFIX = '.pack'
#: Bytes of a disk that stay free for others: checkpoints, logs.
RESERVE = 1 << 30


class DiskFile:
    """A file in a folder, which the next run finds again.

    When it is opened, files of other pipelines that no process uses are removed from the folder,
    the longest unused first, until they hold no more than the limit.

    Args:
        folder (Path): The folder.
        name (str): Says what is kept in the file.
        limit (int): Bytes.
    """

    #: Files that are open in this process: their locks would not keep it from removing them.
    _open_here: set[Path] = set()

    def __init__(self, folder: Path, name: str, limit: int) -> None:
        self.path, self.limit = folder / f'{name}{SUFFIX}', limit
        self.where = str(self.path)

    def open(self) -> int:
        """Open the file, and mark it as used as long as this process lives.

        Raises:
            OSError: If the folder cannot be written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            fcntl.lockf(descriptor, fcntl.LOCK_SH, 1, USE_LOCK)
            if os.fstat(descriptor).st_nlink:
                break
            os.close(descriptor)  # it was removed in between
        os.utime(descriptor)  # last use
        self._open_here.add(self.path)
        self._remove_unused()
        return descriptor

    def room(self, descriptor: int) -> int:
        """Bytes that are free on the disk, less a reserve."""
        state = os.fstatvfs(descriptor)
        return state.f_bavail * state.f_frsize - RESERVE

    def _remove_unused(self) -> None:
        others = []
        for path in self.path.parent.glob(f'*{SUFFIX}'):
            try:
                state = path.stat()
            except OSError:  # another process removed it
                continue
            if path != self.path:
                others.append((state.st_mtime, state.st_size, path))
        held = sum(size for _, size, _ in others)
        for _, size, path in sorted(others):
            if held <= self.limit:
                break
            if path not in self._open_here and _remove(path):
                held -= size


def _remove(path: Path) -> bool:
    """Remove a file that no other process uses."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, USE_LOCK)
        path.unlink()
        return True
    except OSError:  # it is in use, or not ours
        return False
    finally:
        os.close(descriptor)
