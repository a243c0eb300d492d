"""Processes as in containers of their own, without the containers."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_NEW_NUMBERS, _NEW_MOUNTS = 0x20000000, 0x00020000  # CLONE_NEWPID, CLONE_NEWNS
FORK = multiprocessing.get_context('fork')


def _unshare(flags: int) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(flags):
        raise OSError(ctypes.get_errno(), 'unshare')


def _mount(*arguments: str) -> None:
    subprocess.run(['mount', *arguments], check=True, capture_output=True)


def _permitted(flags: int) -> bool:
    def work() -> None:
        try:
            _unshare(flags)
            if flags & _NEW_MOUNTS:
                _mount('--make-rprivate', '/')
        except (OSError, subprocess.CalledProcessError):
            os._exit(1)

    process = FORK.Process(target=work)
    process.start()
    process.join()
    return process.exitcode == 0


def need_namespaces() -> None:
    """Skip a test where they are not permitted."""
    if not hasattr(ctypes.CDLL(None), 'unshare') or not _permitted(_NEW_NUMBERS | _NEW_MOUNTS):
        pytest.skip('namespaces of processes and mounts are not permitted here')


class Container:
    """A function in a process that has the number 1, as the first process of a container.

    Args:
        function (Callable): What it does; what it returns, or raises as text, is the result.
        *args: Its arguments.
    """

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self._receive, send = FORK.Pipe(duplex=False)
        self._process = FORK.Process(target=self._start, args=(send, function, args))
        self._process.start()
        send.close()

    def result(self, seconds: float = 60) -> Any:
        """Wait for what it says next."""
        assert self._receive.poll(seconds), 'the container says nothing'
        return self._receive.recv()

    def kill(self) -> None:
        """Kill all its processes."""
        self._process.kill()
        self._process.join()

    def join(self) -> None:
        """Wait for its end."""
        self._process.join()

    @staticmethod
    def _start(send: Any, function: Callable[..., Any], args: tuple) -> None:
        _unshare(_NEW_NUMBERS | _NEW_MOUNTS)
        first = os.fork()
        if first:
            os.waitpid(first, 0)
            os._exit(0)
        _die_with_parent()
        _mount('--make-rprivate', '/')
        _mount('-t', 'proc', 'proc', '/proc')
        assert os.getpid() == 1
        try:
            send.send(function(*args, *([send] if function.__name__.startswith('tell') else [])))
        except BaseException as error:
            send.send(f'{type(error).__name__}: {error}')
        os._exit(0)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, 9)


def own_disk(folder: Path, size: str = '64m') -> None:
    """Give this process a disk of its own at a place that others see otherwise."""
    _unshare(_NEW_MOUNTS)
    _mount('--make-rprivate', '/')
    _mount('-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', str(folder))
