"""A run that is asked to stop saves first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import all_reduce
from mmengine.hooks import Hook

from knowswap_mm.checks import check_texts, check_whole
from knowswap_mm.engine.hooks.checkpoint import SwapCheckpointHook
from knowswap_mm.engine.optim import window_is_open
from knowswap_mm.errors import ConfigError
from knowswap_mm.registry import HOOKS
from knowswap_mm.runs.checkpoints import last_of_run, save_latest
from knowswap_mm.runs.files import iteration_file


@HOOKS.register_module()
class PreemptionHook(Hook):
    """Saves a checkpoint and ends the process when a cluster takes its machine back.

    On a signal the iteration that runs is finished, ``iter_<n>.pth`` is written, and the process
    ends with 128 plus the number of the signal, as shells count it; ``--resume`` goes on from
    there. With gradient accumulation the window that is open is finished first. During an
    evaluation it ends at once, since what was trained before it can be repeated.
    Several processes agree every ``interval`` iterations whether one of them was asked.

    :class:`SwapRunner` adds it to every swap.

    Args:
        signals (Sequence[str]): What asks to stop; Slurm's ``--signal=USR1@120`` sends SIGUSR1.
        interval (int): Iterations between two agreements of several processes.

    Raises:
        ConfigError: If a value cannot be used.
    """

    #: After the periodic checkpoint of the iteration.
    priority = 'LOWEST'

    def __init__(self, signals: Sequence[str] = ('SIGTERM',), interval: int = 20) -> None:
        key = 'custom_hooks.PreemptionHook'
        known = signal.Signals.__members__
        check_texts(f'{key}.signals', signals, 'SIGTERM')
        if any(name not in known for name in signals):
            raise ConfigError(f'{key}.signals', signals, 'no list of signals', "e.g. ['SIGTERM']")
        check_whole(f'{key}.interval', interval, 1, 20)
        self.signals = [known[name] for name in signals]
        self.interval = interval
        self._asked = self._agreed = 0
        self._before: dict[signal.Signals, Any] = {}

    def before_train(self, runner: Any) -> None:
        """Listen, if this is the main thread: no other one may."""
        if threading.current_thread() is threading.main_thread():
            self._before = {each: signal.signal(each, self._listen) for each in self.signals}

    def _listen(self, number: int, frame: Any) -> None:
        self._asked = number

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Save and end if that was asked for."""
        if not runner.distributed:
            self._agreed = self._asked
        elif (runner.iter + 1) % self.interval == 0 and not self._agreed:
            shared = torch.tensor(self._asked, device=get_device())
            all_reduce(shared, op='max')
            self._agreed = int(shared)
        if self._agreed and not window_is_open(runner.optim_wrapper):
            self._end(runner, self._agreed, f'{self._save(runner)} was saved', runner.iter + 1)

    @staticmethod
    def _save(runner: Any) -> Path:
        for hook in runner.hooks:
            if isinstance(hook, SwapCheckpointHook) and hook.can_be_resumed:
                return hook.save_now(runner)
        return save_latest(runner, iteration_file(runner.iter + 1))

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """End a single process that evaluates."""
        if self._asked and runner.swap_schedule is not None and not runner.distributed:
            found = last_of_run(runner)
            what = f'{found} is the last checkpoint' if found else 'there is no checkpoint yet'
            self._end(runner, self._asked, what, runner.iter, resumes=found is not None)

    def after_train(self, runner: Any) -> None:
        """Listen no more."""
        for each, handler in self._before.items():
            signal.signal(each, handler)
        self._before = {}

    def _end(self, runner: Any, asked: int, what: str, done: int, resumes: bool = True) -> None:
        fix = 'Go on with --resume.' if resumes else 'Start again, with or without --resume.'
        runner.logger.warning(
            f'Stopped by {signal.Signals(asked).name} after iteration {runner.iter}: {what}. {fix}'
        )
        reason = f'it was asked to stop by {signal.Signals(asked).name}'
        ending = dict(iteration=done, reason=reason, change=fix[0].lower() + fix[1:-1])
        runner.call_hook('after_stop', ending=ending)
        self.after_train(runner)
        raise SystemExit(128 + asked)
