"""Trains in several processes of this machine, forked from the one that tests."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.config import Config

from tests.helpers.swap_configs import train


def free_port() -> str:
    """A port that nobody uses."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return str(free.getsockname()[1])


def start(
    config: Config, world: int, run: Callable[[Config], Any] = train, **environment: str
) -> list[multiprocessing.Process]:
    """Start a run of ``world`` gloo processes; one process trains alone.

    What a process has to say when it fails is in ``rank<n>.txt`` of the work dir.

    Args:
        config: The config; its batch size is that of one process.
        world: Number of processes.
        run: What each of them does with the config.
        **environment: Further variables.

    Returns:
        list[Process]: One a rank.
    """
    config.launcher = 'pytorch' if world > 1 else 'none'
    environment |= dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=free_port(), WORLD_SIZE=str(world))
    fork = multiprocessing.get_context('fork')
    processes = []
    for rank in range(world):
        each = environment | dict(RANK=str(rank), LOCAL_RANK=str(rank))
        processes.append(fork.Process(target=_work, args=(config, run, each, rank)))
        processes[-1].start()
    return processes


def join(processes: list[multiprocessing.Process], seconds: float = 120) -> list[int | None]:
    """Wait for all; the exit codes, None for one that had to be killed."""
    for process in processes:
        process.join(seconds)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
        process.join()
    return codes


def train_together(
    config: Config, world: int, run: Callable[[Config], Any] = train, **environment: str
) -> None:
    """Train in ``world`` processes, which must all end well."""
    codes = join(start(config, world, run, **environment))
    said = [path.read_text() for path in Path(config.work_dir).glob('rank*.txt')]
    assert codes == [0] * world, '\n'.join(said)


def _work(config: Config, run: Callable, environment: dict[str, str], rank: int) -> None:
    os.environ |= environment
    os.environ.pop('TORCHELASTIC_RESTART_COUNT', None)
    try:
        run(config)
    except SystemExit:
        raise
    except BaseException:
        folder = Path(config.work_dir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f'rank{rank}.txt').write_text(traceback.format_exc())
        sys.exit(1)
    finally:
        import torch.distributed

        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
