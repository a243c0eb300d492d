"""Jobs that wait for one another, so many at a time, of one driver or of several."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knowswap_mm.errors import SwapError
from knowswap_mm.io.partial_file import try_lock
from knowswap_mm.workflows.processes import RunFailed, stop_all

#: Seconds between two looks at what other drivers have done.
PAUSE = 0.5


@dataclass(frozen=True)
class Job:
    """Something to do once.

    Attributes:
        name (str): Its name; jobs of this name are the same in all drivers.
        run (Callable): Does it; what it returns may have a field ``error``.
        done (Callable): Whether it is done, by what it left on the disk.
        needs (tuple[Job, ...]): Jobs that must be done before.
    """

    name: str
    run: Callable[[], Any]
    done: Callable[[], bool]
    needs: tuple[Job, ...] = ()


def with_needs(jobs: Iterable[Job]) -> list[Job]:
    """Each job once, after those that it needs; what is done needs nothing any more."""
    found: dict[str, Job] = {}
    for job in jobs:
        for each in [*with_needs(() if job.done() else job.needs), job]:
            found.setdefault(each.name, each)
    return list(found.values())


def run_all(jobs: Iterable[Job], processes: int, locks: Path) -> list[str]:
    """Do what is not done yet, with all that it needs; returns what went wrong.

    A job that another driver is at is left to that one, and waited for. A lock goes with its
    process, so that nothing has to be cleared away after a kill.

    Args:
        jobs (Iterable[Job]): The jobs, the most urgent first.
        processes (int): How many run at a time.
        locks (Path): Folder of the locks, the same one for all drivers.
    """
    locks.mkdir(parents=True, exist_ok=True)
    pending = {job.name: job for job in with_needs(jobs)}
    done: set[str] = set()
    problems: dict[str, str] = {}
    running: dict[Future, tuple[Job, int, float]] = {}

    def end(name: str, problem: str = '') -> None:
        pending.pop(name, None)
        if problem:
            problems[name] = problem
        else:
            done.add(name)

    with ThreadPoolExecutor(processes) as pool:
        try:
            while pending or running:
                for job in list(pending.values()):
                    needs = [each.name for each in job.needs]
                    if lost := [each for each in needs if each in problems]:
                        end(job.name, f'needs {lost[0]}, which failed')
                    elif job.done():
                        end(job.name)
                    elif len(running) < processes and done.issuperset(needs):
                        lock = _take(locks, job.name)
                        if lock is None:
                            continue
                        if job.done():  # the other driver ended it just now
                            os.close(lock)
                            continue
                        del pending[job.name]
                        running[pool.submit(job.run)] = job, lock, time.time()
                for future in _ended(running):
                    job, lock, began = running.pop(future)
                    problem = _problem(job, future)
                    os.close(lock)
                    end(job.name, problem)
                    told = f'failed: {problem}' if problem else 'done'
                    print(f'{job.name}: {told} ({time.time() - began:.0f} s)', flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            stop_all()
            raise
    return [f'{name}: {problem}' for name, problem in problems.items()]


def _ended(running: dict[Future, Any]) -> list[Future]:
    if not running:
        time.sleep(PAUSE)
        return []
    return list(wait(running, PAUSE, FIRST_COMPLETED).done)


def _problem(job: Job, future: Future) -> str:
    """What went wrong; empty if it is done."""
    if error := future.exception():
        return str(error) if isinstance(error, (RunFailed, SwapError)) else repr(error)
    result = future.result()
    if isinstance(result, dict) and result.get('error'):
        return str(result['error'])
    return '' if job.done() else 'it ended and is not done'


def _take(folder: Path, name: str) -> int | None:
    """The lock of a job, an open file; None if somebody has it."""
    path = folder / f'{re.sub(r"[^A-Za-z0-9.-]+", "_", name)}.lock'
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    if try_lock(descriptor) is False:
        os.close(descriptor)
        return None
    return descriptor
