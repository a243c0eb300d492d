"""Files that are being written, under names that nobody else has."""

from __future__ import annotations

import errno
import fcntl
import functools
import hashlib
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

PARTIAL = '.partial'
#: Seconds after which a file that another machine began counts as left behind. Its lock may not
#: be seen from here, and nothing is written for so long without a change of the file.
FOREIGN_AGE = 3600
#: A name is cut so that it, with what is added, is one that every file system takes.
_LONGEST = 180


@functools.cache
def machine_name() -> str:
    """A short name of the running kernel: the same in all of its containers, and nowhere else.

    Host names repeat, and numbers of processes do in containers. A machine that was started again
    has another name: none of its processes live on.
    """
    try:
        text = Path('/proc/sys/kernel/random/boot_id').read_text(encoding='ascii')
    except OSError:
        text = f'{socket.gethostname()} {uuid.getnode()}'
    return hashlib.sha256(text.strip().encode()).hexdigest()[:8]


def partial_name(path: Path) -> str:
    """A name that nobody else has: ``<name>.<machine>-<random>.partial``."""
    return f'{path.name[:_LONGEST]}.{machine_name()}-{uuid.uuid4().hex[:12]}{PARTIAL}'


def open_partial(path: Path, ending: str = '') -> tuple[Path, BinaryIO]:
    """Make a file beside another one, locked as long as it is open; returns its path, and it.

    It is created exclusively, so that two writers, in whatever containers or on whatever machines,
    never have the same one. Its rights are those of any new file (umask). The ``ending`` stands
    behind ``.partial``, for writers that look at it.

    Raises:
        OSError: If it cannot be made.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        partial = path.with_name(f'{partial_name(path)}{ending}')
        file = os.fdopen(os.open(partial, flags, 0o666), 'w+b')
        if try_lock(file.fileno()) is not False and os.fstat(file.fileno()).st_nlink:
            return partial, file
        file.close()  # before it was locked, somebody took it for one that was left behind


@contextmanager
def partial_file(path: Path, ending: str = '') -> Iterator[tuple[Path, BinaryIO]]:
    """As :func:`open_partial`, for a block, and removed if the block fails.

    Raises:
        OSError: If it cannot be made.
    """
    partial, file = open_partial(path, ending)
    try:
        with file:
            yield partial, file
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def remove_left(folder: Path, pattern: str) -> list[Path]:
    """Remove partial files whose writers are dead, by a pattern of ``glob``; returns their paths.

    One of this machine is removed if its lock is free; one of another machine only if, besides,
    it was not changed for an hour by the clock of the file system.
    """
    removed = []
    for path in folder.glob(pattern):
        try:
            if path.is_symlink() or not path.is_file():
                continue
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:  # of another user, or gone already
            continue
        try:
            if is_left(path, descriptor):
                path.unlink()
                removed.append(path)
        except OSError:
            continue
        finally:
            os.close(descriptor)
    return removed


def try_lock(descriptor: int, shared: bool = False) -> bool | None:
    """Lock an open file until it is closed; a ``shared`` lock is one that others may have, too.

    False if another process has it; None if the file system knows no locks.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else None
    return True


def age(path: Path) -> float:
    """Seconds since a file was changed, by the clock of its file system, not of this machine.

    Raises:
        OSError: If it is gone.
    """
    changed = path.stat().st_mtime
    probe = path.with_name(f'.{uuid.uuid4().hex}{PARTIAL}')
    try:
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        now = probe.stat().st_mtime
    except OSError:  # nothing can be written there
        now = time.time()
    finally:
        with suppress(OSError):
            probe.unlink()
    return now - changed


def is_left(path: Path, descriptor: int) -> bool:
    """Whether the writer of an opened partial file or folder is dead; locks it if so.

    Raises:
        OSError: If it is gone.
    """
    lock = try_lock(descriptor)
    if lock is False:
        return False
    parts = path.name.rsplit(PARTIAL, 1)[0].rsplit('.', 1)[-1].split('-')
    foreign = len(parts) == 2 and len(parts[1]) == 12 and parts[0] != machine_name()
    return age(path) > FOREIGN_AGE if foreign or lock is None else True
