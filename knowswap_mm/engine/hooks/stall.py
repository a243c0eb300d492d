"""A process that waits forever for another one ends and says for which."""

from __future__ import annotations

import faulthandler
import os
import sys
import time
from typing import Any

from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook

from knowswap_mm.distributed.heartbeat import Heartbeat
from knowswap_mm.registry import HOOKS

#: Exit code of a process that waited too long, as of the command ``timeout``.
EXIT_CODE = 124


@HOOKS.register_module()
class StallHook(Hook):
    """Watches over processes that train together, see :class:`Heartbeat`.

    When a process makes no step for ``env_cfg.dist_cfg.timeout`` seconds (half an hour if the
    config does not say), it logs which rank did not come, prints where its own threads are, and
    ends with exit code 124, whatever it waits in: gloo, NCCL or a file. Steps are iterations of
    training and evaluation, so the time must be longer than the longest of them with its
    checkpoint, and than the summary of an evaluation.

    :class:`SwapRunner` adds it to every swap; one process alone is not watched.
    """

    priority = 'LOWEST'

    def __init__(self) -> None:
        self._heart: Heartbeat | None = None

    def before_train(self, runner: Any) -> None:
        """Begin to watch."""
        if get_world_size() > 1:
            self._logger = runner.logger
            self._heart = Heartbeat(get_rank(), get_world_size(), runner.timeout, self._stalled)
            self._heart.start()

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Note a step."""
        self._step(f'iteration {runner.iter}')

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Note a step."""
        self._step(f'the end of iteration {runner.iter}')

    def before_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Note a step."""
        self._step(f'batch {batch_idx} of an evaluation')

    def after_val_epoch(self, runner: Any, metrics: Any = None) -> None:
        """Note a step."""
        self._step('the end of an evaluation')

    def after_train(self, runner: Any) -> None:
        """Watch no more."""
        if self._heart is not None:
            self._heart.end()
            self._heart = None

    def explain(self, runner: Any, error: Exception) -> None:
        """Give the thread the last word if it is finding out why an exchange failed."""
        if self._heart is not None and self._heart.in_doubt:
            self._heart.join()

    def _step(self, place: str) -> None:
        if self._heart is not None:
            self._heart.step(place)

    def _stalled(self, message: str) -> None:
        heart = self._heart
        self._logger.error(message)
        print(message, file=sys.stderr, flush=True)
        faulthandler.dump_traceback(file=sys.__stderr__)
        if heart is not None:  # the others must be able to find out the same, and rank 0 has notes
            time.sleep((2 if heart.rank else 4) * heart.period)
        os._exit(EXIT_CODE)
