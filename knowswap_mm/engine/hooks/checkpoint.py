"""Periodic checkpoints that are never without a whole one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend

from knowswap_mm.compat import OpenCheckpointHook
from knowswap_mm.engine.optim import window_is_open
from knowswap_mm.io.files import write_atomic
from knowswap_mm.registry import HOOKS
from knowswap_mm.runs.checkpoints import write_latest

ATOMIC = 'knowswap_mm.atomic'
NOWHERE = 'knowswap_mm.nowhere'


class AtomicBackend(LocalBackend):
    """Local files that replace what was there in one step; named ``knowswap_mm.atomic``."""

    def put(self, obj: bytes, filepath: str | os.PathLike) -> None:
        """Write bytes.

        Raises:
            CheckpointError: If they cannot be written.
        """
        write_atomic(filepath, lambda file: file.write(obj))


class NowhereBackend(LocalBackend):
    """Takes what is written and keeps nothing; named ``knowswap_mm.nowhere``.

    A checkpoint written to it passes all hooks, which say what it would hold.
    """

    def put(self, obj: bytes, filepath: str | os.PathLike) -> None:
        """Drop bytes."""


register_backend(ATOMIC, AtomicBackend, force=True)
register_backend(NOWHERE, NowhereBackend, force=True)


@HOOKS.register_module()
class SwapCheckpointHook(OpenCheckpointHook):
    """mmengine's ``CheckpointHook`` in a safer order.

    The new checkpoint is written, then named as the last one, and only then the oldest is removed;
    mmengine removes first. All arguments are those of ``CheckpointHook``, which
    :class:`SwapRunner` replaces by this class. With gradient accumulation, a checkpoint that falls
    inside a window is written at its end: the gradients gathered so far are in no file.
    """

    _due = False

    @property
    def can_be_resumed(self) -> bool:
        """Whether its checkpoints are local ones, of iterations, with all that a run needs."""
        remote = '://' in str(self.out_dir) or self.backend_args or self.file_client_args
        return not (self.by_epoch or remote) and self.save_optimizer and self.save_param_scheduler

    def save_now(self, runner: Any) -> Path:
        """Save a checkpoint out of turn; it counts for ``max_keep_ckpts`` as the others do.

        It returns the file; the runner is in ``after_train_iter``.

        Raises:
            CheckpointError: If it cannot be written.
        """
        self.save_in_turn(runner)
        return Path(self.last_ckpt)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Save where the config says so, or as soon as gradients are applied after that."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if self._due and not window_is_open(runner.optim_wrapper):
            self.save_in_turn(runner)

    def save_step(self, runner: Any, step: int, meta: dict[str, Any]) -> None:
        """Write a checkpoint before the oldest one is removed."""
        self._due = window_is_open(runner.optim_wrapper)
        if self._due:
            runner.logger.info('It is written when the gradients that are gathered are applied')
            return
        outdated = None
        if self.max_keep_ckpts > 0 and (not self.keep_ckpt_ids or self.keep_ckpt_ids[-1] != step):
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated = self.keep_ckpt_ids.popleft()
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if not is_main_process():
            return
        write_latest(runner.work_dir, self.last_ckpt)
        if outdated is not None:
            path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(outdated))
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)
