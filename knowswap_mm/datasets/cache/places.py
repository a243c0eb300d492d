"""A file for kept samples in the memory of a host."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

from knowswap_mm.datasets.cache.pack_file import USE_LOCK

SUFFIX = '.pack'
#: Bytes of a disk that stay free for others: checkpoints, logs.
DISK_RESERVE = 1 << 30


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
        return state.f_bavail * state.f_frsize - DISK_RESERVE

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


#: Bytes of memory that stay free for others.
MEMORY_RESERVE = 1 << 30
#: Share of the memory that kept samples may take at most.
SHARE = 0.5


class MemoryFile:
    """A file without a place on any disk, which ends with the last process that has it open.

    Nothing of it can be left behind, whatever becomes of the processes, and ``/dev/shm``, often
    small and needed by the data loader, is not touched. The processes of a user on a host find it
    by a small note that names the process which made it.

    Args:
        name (str): Says what is kept in the file.
    """

    def __init__(self, name: str) -> None:
        self.title = f'knowswap_mm_{name}'
        self.where = 'memory'
        self._allowed = int(min([_meminfo()['MemTotal'], *_container_limits()]) * SHARE)

    def open(self) -> int:
        """Open the file that another process of the user made, or make one."""
        note = self._open_note()
        if note is None:  # processes cannot find each other; each has its own file
            return os.memfd_create(self.title, os.MFD_CLOEXEC)
        try:
            fcntl.lockf(note, fcntl.LOCK_EX)
            descriptor = self._open_noted(os.pread(note, 64, 0))
            if descriptor is None:
                descriptor = os.memfd_create(self.title, os.MFD_CLOEXEC)
                os.ftruncate(note, 0)
                os.pwrite(note, f'{os.getpid()} {descriptor}'.encode(), 0)
            return descriptor
        finally:
            os.close(note)

    def room(self, descriptor: int) -> int:
        """Bytes that the file may still take of the memory of the machine or container."""
        own = os.fstat(descriptor).st_size
        return min(_meminfo()['MemAvailable'] - MEMORY_RESERVE, self._allowed - own)

    def _open_note(self) -> int | None:
        folder = Path(tempfile.gettempdir()) / f'knowswap_mm_{os.getuid()}'
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            state = folder.lstat()
            if state.st_uid != os.getuid() or state.st_mode & 0o022:
                return None  # in a folder that others write, a note may be anybody's
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            return os.open(folder / self.title, flags, 0o600)
        except OSError:
            return None

    def _open_noted(self, note: bytes) -> int | None:
        """The file that a note tells of; None if its process is gone."""
        numbers = note.split()
        if len(numbers) != 2 or not all(number.isdigit() for number in numbers):
            return None
        process, number = map(int, numbers)
        path = f'/proc/{process}/fd/{number}'
        try:
            # The numbers may have been given to others since; the title tells.
            if os.readlink(path) != f'/memfd:{self.title} (deleted)':
                return None
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None


def _meminfo() -> dict[str, int]:
    lines = Path('/proc/meminfo').read_text().splitlines()
    pairs = (line.split()[:2] for line in lines)
    return {name.rstrip(':'): int(kibibytes) * 1024 for name, kibibytes in pairs}


def _container_limits() -> list[int]:
    """Memory limits of the control groups in which the process runs."""
    root = Path('/sys/fs/cgroup')
    files = [root / 'memory.max', root / 'memory' / 'memory.limit_in_bytes']
    try:
        for line in Path('/proc/self/cgroup').read_text().splitlines():
            _, controllers, group = line.split(':', 2)
            if not controllers:
                files.append(root / group.lstrip('/') / 'memory.max')
    except (OSError, ValueError):
        pass
    limits = []
    for file in files:
        try:
            limits.append(int(file.read_text()))
        except (OSError, ValueError):  # missing, or 'max'
            continue
    return limits
