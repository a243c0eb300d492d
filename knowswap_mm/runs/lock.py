"""One run at a time in a work dir."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.logging import print_log

from knowswap_mm.errors import CheckpointError, ConfigError
from knowswap_mm.io.partial_file import age, open_partial, try_lock
from knowswap_mm.runs.files import LOCK_FILE
from knowswap_mm.runs.launch import lives, process_name

#: Seconds between two signs of life of a run.
BEAT = 10.0
#: Seconds that a start waits for a run that lives: it may be about to end.
PATIENCE = 10.0
#: Seconds without a sign of life after which a run of another machine or container is dead. Network
#: file systems may show a change up to a minute late.
SILENCE = 75.0
#: A lock that is older, by the clock of its file system, is one of a dead run without a wait.
LONG_AGO = 600.0
#: Exit code of a run whose folder another one has taken.
EXIT_CODE = 75


class Holder(NamedTuple):
    """A lock as it was found."""

    text: bytes
    content: dict[str, Any]
    stamp: tuple[int, int]

    def __str__(self) -> str:
        machine, number = self.content.get('host', 'unknown'), self.content.get('pid', 'unknown')
        return f'machine {machine}, process {number}, since {self.content.get("since", "unknown")}'


class WorkDirLock:
    """The file ``run.lock`` of a work dir, which one run at a time has.

    It names the run: machine, process, since when. A run that is killed leaves it, and the next
    one takes it over: at once if it can see that the process is dead, belongs to the same launch
    (:func:`~knowswap_mm.runs.launch.launch_names`), or gave no sign of life for ten minutes;
    otherwise (another machine, another container) when it has seen no sign of life for 75 seconds,
    by its own clock. So clocks need not agree, and nothing rests on the locks of a network file
    system: the file is made by ``link``, which is one step everywhere, and touched every ten
    seconds by a thread.

    Args:
        folder (str | Path): The work dir.
        launches (Iterable[str]): Names of the launch; see above.
        lost (Callable[[str], None] | None): Gets a message, in the thread, when another run has
            taken the folder from this one, which was stopped for longer than that. By default the
            process ends at once, with exit code 75.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        launches: Iterable[str] = (),
        lost: Callable[[str], None] | None = None,
    ) -> None:
        self.path = Path(folder) / LOCK_FILE
        self._launches = set(launches)
        self._lost = lost or _end
        self._own = b''
        self._file: Any = None
        self._released = threading.Event()

    def acquire(self) -> None:
        """Take the lock, and hold it until :meth:`release` or the death of the process.

        Raises:
            ConfigError: If a run that lives has it.
            CheckpointError: If nothing can be written in the folder.
        """
        try:
            self._acquire()
        except OSError as error:
            raise CheckpointError(
                f'{self.path} could not be written on {socket.gethostname()} '
                f'({error.strerror or error}). Fix: make room there, fix the rights, or choose '
                'another work_dir.'
            ) from error
        threading.Thread(target=self._beat, name='run-lock', daemon=True).start()

    def _acquire(self) -> None:
        seen: Holder | None = None
        began, signs = time.monotonic(), False
        while not self._create():
            held = read_holder(self.path)
            if held is None:
                continue
            if seen is None or held.text != seen.text:
                seen, began, signs = held, time.monotonic(), False
            signs = signs or held.stamp != seen.stamp
            alive, waited = self._lives(held), time.monotonic() - began
            if alive is None:
                alive = signs or None
                if not signs and (waited > SILENCE or _is_old(self.path)):
                    alive = False
            if alive is False:
                print_log(f'The run before in {self.path.parent} ended early ({held}).', 'current')
                self._take(held)
                continue
            if alive and waited > PATIENCE:
                fix = f'wait for it, stop it, or give another --work-dir (its lock is {LOCK_FILE})'
                problem = f'another run trains in it ({held})'
                raise ConfigError('work_dir', str(self.path.parent), problem, fix)
            if held is seen:
                text = f'{self.path.parent} is in use ({held}): looking whether that run lives ...'
                print_log(text, 'current')
            time.sleep(min(BEAT, PATIENCE) / 10)

    def release(self) -> None:
        """Give it back; nothing happens if this run does not have it."""
        if self._file is None:
            return
        self._released.set()
        held = read_holder(self.path)
        if held is not None and held.text == self._own:
            with suppress(OSError):
                self.path.unlink()
        self._file.close()
        self._file = None

    def _create(self) -> bool:
        """Make the file if there is none. It is locked for processes of this kernel, too."""
        content = dict(
            host=socket.gethostname(),
            pid=os.getpid(),
            since=datetime.now().astimezone().isoformat(timespec='seconds'),
            process=process_name(),
            launches=sorted(self._launches),
            token=uuid.uuid4().hex,
        )
        self._own = json.dumps(content).encode()
        partial, file = open_partial(self.path)
        try:
            file.write(self._own)
            file.flush()
            os.fsync(file.fileno())
            try:
                os.link(partial, self.path)
            except FileExistsError:
                file.close()
                return False
            except OSError:  # a file system without links
                file.close()
                return self._create_without_link()
        finally:
            partial.unlink()
        self._file = file
        return True

    def _create_without_link(self) -> bool:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            file = os.fdopen(os.open(self.path, flags, 0o666), 'w+b')
        except FileExistsError:
            return False
        try_lock(file.fileno())
        file.write(self._own)
        file.flush()
        self._file = file
        return True

    def _lives(self, held: Holder) -> bool | None:
        name = held.content.get('process')
        if isinstance(name, str) and name.count(':') == 3:
            found = lives(name)
            if found is not None:
                return found
        launches = held.content.get('launches')
        if isinstance(launches, list) and self._launches.intersection(map(str, launches)):
            return False  # its torchrun ended it before it started this one
        if isinstance(name, str) and name.split(':')[0] == (process_name() or '').split(':')[0]:
            return _is_locked(self.path, held)
        return None

    def _take(self, dead: Holder) -> None:
        """Remove a lock; of all who found it, one at a time looks at it once more before."""
        name = hashlib.sha256(dead.text).hexdigest()[:12]
        claim = self.path.with_name(f'{LOCK_FILE}.{name}.partial')
        try:
            os.close(os.open(claim, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        except FileExistsError:
            with suppress(FileNotFoundError):
                if age(claim) > PATIENCE:  # whoever made it died there
                    claim.unlink()
            time.sleep(0.05)
            return
        try:
            held = read_holder(self.path)
            if held is not None and held.text == dead.text:
                self.path.unlink()
        finally:
            claim.unlink(missing_ok=True)

    def _beat(self) -> None:
        own, missing = self._own, 0
        while not self._released.wait(BEAT):
            try:
                held = read_holder(self.path)
                if held is None:  # somebody removed it, or is looking at it just now
                    missing += 1
                    if missing > 1 and not self._released.is_set():
                        _restore(self.path, own)
                    continue
                missing = 0
                if held.text == own:
                    os.utime(self.path)
                    continue
            except OSError:  # the storage does not answer just now
                continue
            if not self._released.is_set():
                self._lost(
                    f'{self.path.parent} was taken over by another run ({held}), since this one '
                    f'gave no sign of life for more than {SILENCE:g} s. This one ends now and '
                    'writes nothing more.'
                )
            return


def read_holder(path: Path) -> Holder | None:
    """Read a lock; None if there is none. What is no lock of ours has no content."""
    try:
        with path.open('rb') as file:
            text, state = file.read(1 << 16), os.fstat(file.fileno())
    except FileNotFoundError:
        return None
    try:
        content = json.loads(text)
    except ValueError:
        content = {}
    content = content if isinstance(content, dict) else {}
    return Holder(text, content, (state.st_mtime_ns, state.st_size))


def in_use(folder: str | os.PathLike) -> bool:
    """Whether a run seems to train in a folder; this does not wait for a sign of life."""
    path = Path(folder) / LOCK_FILE
    try:
        held = read_holder(path)
        name = None if held is None else held.content.get('process')
        alive = lives(name) if isinstance(name, str) and name.count(':') == 3 else None
        return held is not None and (not _is_old(path) if alive is None else alive)
    except OSError:
        return False


def kept_nothing(folder: Path) -> bool:
    """Whether a run ended in a folder before it kept a checkpoint, and none is at work there."""
    return not in_use(folder) and not any(folder.glob('*.pth'))


def _is_old(path: Path) -> bool:
    with suppress(FileNotFoundError):
        return age(path) > LONG_AGO
    return False


def _is_locked(path: Path, held: Holder) -> bool | None:
    """Whether a process of this kernel, in another container, has the file open."""
    try:
        with path.open('rb') as file:
            if file.read(1 << 16) != held.text:
                return None
            free = try_lock(file.fileno(), shared=True)
    except OSError:
        return None
    return None if free is None else not free


def _restore(path: Path, text: bytes) -> None:
    with suppress(OSError):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        os.write(file, text)
        os.close(file)


def _end(message: str) -> None:
    print_log(message, 'current', level=40)
    print(message, file=sys.stderr, flush=True)
    os._exit(EXIT_CODE)
