"""A growing file of checked records that many processes share."""

from __future__ import annotations

import fcntl
import logging
import os
import struct
import threading
import weakref
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from mmengine.dist import get_dist_info
from mmengine.logging import print_log
from torch.utils.data import get_worker_info


def warn_once(text: str) -> None:
    """Warn from the first worker of the first process alone."""
    worker = get_worker_info()
    if get_dist_info()[0] == 0 and (worker is None or worker.id == 0):
        print_log(text, logger='current', level=logging.WARNING)


#: Records begin at multiples of this, so that the next one is found behind damage.
ALIGN = 64
#: Magic (with the format's version), key, bytes of the payload, its checksum, that of the header.
_HEADER = struct.Struct('<8s16sQII')
_MAGIC = b'KSpack01'
_CHUNK = 1 << 20
#: Bytes that a process writes before it looks anew how much room there is.
_GRANT = 16 << 20
#: Byte ranges behind any file that stand for locks.
WRITE_LOCK, USE_LOCK = 1 << 62, (1 << 62) + 1


class Storage(Protocol):
    """Where the bytes of a :class:`PackFile` lie."""

    where: str

    def open(self) -> int:
        """A descriptor of the file, which is made if it is missing."""

    def room(self, descriptor: int) -> int:
        """Bytes that may still be written there without harm to others."""


class PackFile:
    """Keeps values by key, once written never changed, for all processes that open the file.

    Writers append under a lock. Readers need none: a record counts only when it is there in full
    and its checksum holds, which every process checks when it first reads it. No record is ever
    moved or cut off, so a place that was read once stays good; behind damaged bytes the next
    record is searched for. The file is read, not mapped into memory: a mapped file that becomes
    shorter kills the process.

    When the file is full, or cannot be written, it goes on to serve what it has.

    Args:
        storage (Storage): Where the bytes lie.
        limit (int): Size of the file in bytes that is not exceeded.
    """

    def __init__(self, storage: Storage, limit: int) -> None:
        self.storage, self.limit = storage, limit
        self._open()

    def _open(self) -> None:
        self._thread_lock = threading.Lock()
        self._places: dict[bytes, tuple[int, int, bool]] = {}
        self._end, self._closed, self._granted = 0, False, 0
        self._descriptor = self.storage.open()
        weakref.finalize(self, os.close, self._descriptor)
        with self._writing():
            self._read_on(repair=True)

    def __getstate__(self) -> dict[str, Any]:
        return dict(storage=self.storage, limit=self.limit)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the file anew in a process that was spawned; one that was forked inherits it."""
        self.__dict__.update(state)
        self._open()

    def __len__(self) -> int:
        return len(self._places)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return os.fstat(self._descriptor).st_size

    def allow(self, limit: int) -> None:
        """Let the file grow to so many bytes, unless it may become larger already."""
        if limit > self.limit:
            self.limit, self._closed = limit, False

    def get(self, key: bytes) -> np.ndarray | None:
        """Read the value of a key of 16 bytes.

        Returns:
            np.ndarray | None: A new writable array of bytes, whose start is aligned as the value's
            was; None if there is no such value, or it is damaged.
        """
        try:
            if key not in self._places:
                self._read_on()
            place = self._places.get(key)
            return None if place is None else self._read(key, *place)
        except OSError as error:
            self._close(f'it cannot be read ({error})')
            return None

    def _read(self, key: bytes, start: int, length: int, checked: bool) -> np.ndarray | None:
        record = np.empty(ALIGN + length, np.uint8)
        whole = os.preadv(self._descriptor, [record], start) == len(record)
        header = _parse(record[:ALIGN].tobytes()) if whole else None
        value = record[ALIGN:]
        if header is None or header[:2] != (key, length):
            del self._places[key]
            return None
        if not checked:
            if zlib.crc32(value) != header[2]:
                del self._places[key]
                return None
            self._places[key] = (start, length, True)
        return value

    def put(self, key: bytes, value: bytes) -> None:
        """Write a value by a key of 16 bytes, unless another process did, or there is no room."""
        if self._closed:
            return
        record = _record(key, value)
        try:
            if self._granted < len(record):  # before the lock: others need not wait for it
                room = self.storage.room(self._descriptor)
                self._granted = min(room, max(_GRANT, len(record)))
                if room < len(record):
                    return self._close(f'{self.storage.where} has no more room')
            with self._writing():
                self._read_on(repair=True)
                if key in self._places:
                    return
                if self._end + len(record) > self.limit:
                    return self._close('its size is reached')
                self._append(key, record, len(value))
                self._granted -= len(record)
        except OSError as error:
            self._close(f'it cannot be written ({error})')

    def _append(self, key: bytes, record: bytes, length: int) -> None:
        try:
            written = os.pwrite(self._descriptor, record, self._end)
        except OSError:
            os.ftruncate(self._descriptor, self._end)
            raise
        if written < len(record):
            os.ftruncate(self._descriptor, self._end)  # no reader has taken half a record for one
            return self._close(f'{self.storage.where} is full')
        self._places[key] = (self._end, length, True)
        self._end += len(record)

    def _read_on(self, repair: bool = False) -> None:
        """Take note of the records that were appended since the last time.

        To ``repair`` is to go on behind bytes that are no record. Only under the lock: without it
        they may be a record that is being written.
        """
        size = os.fstat(self._descriptor).st_size
        if aligned(size) < self._end:  # somebody cut the file: what follows is not what it was
            self._places.clear()
            self._end = 0
        while self._end < size:
            header = _parse(os.pread(self._descriptor, ALIGN, self._end))
            if header is None:
                if not repair:
                    return
                self._end = self._next_record(self._end + ALIGN, size)
                if self._end > size:
                    # The file ends inside a header. What is written next must not complete it.
                    self._end = size = size - size % ALIGN
                    os.ftruncate(self._descriptor, size)
                continue
            key, length, _ = header
            if self._end + ALIGN + length > size:
                if not repair:
                    return
                # Its writer died. What comes next must not be taken for its end.
                os.pwrite(self._descriptor, bytes(ALIGN), self._end)
                continue
            self._places[key] = (self._end, length, False)
            self._end += ALIGN + aligned(length)

    def _next_record(self, start: int, size: int) -> int:
        """First place from a start on where a record begins, or the aligned end of the file."""
        while start < size:
            chunk = os.pread(self._descriptor, _CHUNK, start)
            found = chunk.find(_MAGIC)
            while found >= 0:
                if found % ALIGN == 0 and _parse(chunk[found : found + ALIGN]) is not None:
                    return start + found
                found = chunk.find(_MAGIC, found + 1)
            start += _CHUNK
        return aligned(size)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One writer at a time, over threads and processes; a dead process has no locks."""
        with self._thread_lock:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1, WRITE_LOCK)
            try:
                yield
            finally:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, WRITE_LOCK)

    def _close(self, reason: str) -> None:
        """Write no more; one process of a host says so."""
        if self._closed:
            return
        self._closed = True
        held = f'{len(self)} with {self.size / 1e9:.2f} GB'
        warn_once(
            f'dataset.cache: after {held} no more samples are kept in {self.storage.where}: '
            f'{reason}. The others are loaded each time. Fix: see "Keep the decoded images" in '
            'docs/data.md.'
        )


def aligned(number: int) -> int:
    """The number of bytes up to the next multiple of :data:`ALIGN`."""
    return -(-number // ALIGN) * ALIGN


def _record(key: bytes, value: bytes) -> bytes:
    if len(key) != 16:
        raise ValueError(f'a key has 16 bytes, not {len(key)}')
    header = _HEADER.pack(_MAGIC, key, len(value), zlib.crc32(value), 0)
    header = header[:-4] + struct.pack('<I', zlib.crc32(header[:-4]))
    return b''.join([header.ljust(ALIGN, b'\0'), value, bytes(aligned(len(value)) - len(value))])


def _parse(header: bytes) -> tuple[bytes, int, int] | None:
    """Key, bytes and checksum of a record's value; None if this is no header."""
    if len(header) < ALIGN:
        return None
    magic, key, length, checksum, own = _HEADER.unpack_from(header)
    if magic != _MAGIC or zlib.crc32(header[: _HEADER.size - 4]) != own:
        return None
    return key, length, checksum
