"""A runner for machines that are many, shared, full, or taken away."""

from __future__ import annotations

import copy
import errno
import logging
import sys
import uuid
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import get_rank, is_main_process
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from torch import nn

from knowswap_mm.distributed.ends import TidyRunner
from knowswap_mm.distributed.process_group import (
    on_rank_0,
    set_slurm_variables,
    start_gloo,
    with_meeting,
    with_timeout,
)
from knowswap_mm.errors import CheckpointError
from knowswap_mm.io.files import write_text
from knowswap_mm.runs.files import config_file
from knowswap_mm.runs.launch import config_hash, launch_names
from knowswap_mm.runs.lock import WorkDirLock

#: What a storage says that takes no more.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


class ClusterRunner(TidyRunner):
    """A runner whose processes find one another, and whose folder no other run writes into.

    - Processes meet however often each of them was started, see :class:`Meeting`; on a CPU they
      talk through gloo, also under Slurm.
    - One run at a time trains in a work dir, see :class:`WorkDirLock`.
    - A full disk is an error that says so, whatever was being written.
    - Its ``cfg`` says what the run is, not how it was started: neither ``launcher`` nor ``resume``
      are in it, nor in the files that hold it. So it can be run again elsewhere.

    Attributes:
        run_id (str): Random; a resumed run keeps that of its checkpoint.
        launches (list[str]): See :func:`launch_names`; empty if nothing restarts this run.
        config_hash (str | None): Of the config as it was when the training began.
        timeout (float): Seconds that processes wait for one another.
    """

    launches: list[str] = []
    config_hash: str | None = None
    _lock: WorkDirLock | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if isinstance(kwargs.get('cfg'), Config):
            kwargs['cfg'] = copy.copy(kwargs['cfg'])
            for key in ('launcher', 'resume'):  # other arguments have them
                kwargs['cfg'].pop(key, None)
        super().__init__(*args, **kwargs)

    def train(self) -> Any:
        """Train, alone in the work dir.

        Raises:
            ConfigError: If another run trains in it.
            CheckpointError: If the disk is full or cannot be written.
        """
        self.launches, self.config_hash = launch_names(), config_hash(self.cfg)
        self._lock = WorkDirLock(self.work_dir, self.launches)
        try:
            on_rank_0(self._lock.acquire)
            self.prepare()
            self.visualizer.add_config(self.cfg)
            self.dump_config()
            return super().train()
        except OSError as error:
            if (full := storage_error(error, self.work_dir)) is None:
                raise
            raise full from error
        finally:
            self._lock.release()
            self._lock = None

    def prepare(self) -> None:
        """What comes before the config is written, alone in the work dir."""

    def dump_config(self) -> None:
        """Write the config into the work dir once the run holds it.

        A test, or a training that does not begin, leaves the config of the run that is there.
        """
        if not is_main_process() or self._lock is None:
            return
        name = self.cfg.filename
        name = config_file(name, self.work_dir) if name else f'{self.timestamp}.py'
        if name.endswith('.py'):
            write_text(Path(self.work_dir) / name, self.cfg.pretty_text)
        else:
            super().dump_config()

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build the logger, which says once if its file cannot be written."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.handleError = _SaysOnce(handler.baseFilename)
        return logger

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        """Set up the environment; processes without an accelerator talk through gloo.

        Raises:
            ConfigError: If ``dist_cfg.timeout`` is no number of seconds, or the launcher did not
                start this process.
            SwapError: If not all processes come.
        """
        env_cfg, self.timeout = with_timeout(env_cfg)
        meeting = None
        if self.launcher == 'slurm':
            set_slurm_variables()
            self.use_launcher('pytorch')  # mmengine's own start of Slurm's processes needs CUDA
        if self.launcher == 'pytorch':
            env_cfg, meeting = with_meeting(env_cfg, self.timeout)
            start_gloo(env_cfg)
        super().setup_env(env_cfg)
        if meeting is not None:
            meeting.complete()
        self.run_id = uuid.uuid4().hex

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        """Wrap the model for several processes, on the CPU as well."""
        if self.distributed and get_device() == 'cpu' and not is_model_wrapper(model):
            default = dict(
                type='MMDistributedDataParallel',
                broadcast_buffers=False,
                find_unused_parameters=self.cfg.get('find_unused_parameters', False),
            )
            model_wrapper_cfg = default | dict(model_wrapper_cfg or {}, device_ids=None)
        return super().wrap_model(model_wrapper_cfg, model)


def storage_error(error: OSError, folder: str | Path) -> CheckpointError | None:
    """What a user can do about a disk that takes no more; None for any other error."""
    if error.errno not in _FULL:
        return None
    where = error.filename or f'a file of the run in {folder}'
    return CheckpointError(
        f'Rank {get_rank()}: {where} could not be written ({error.strerror}). Checkpoints that '
        'were saved before are untouched. Fix: make room on the disk (or in the quota) or choose '
        'another work_dir, then go on with --resume.'
    )


class _SaysOnce:
    """In the place of a handler's ``handleError``, which prints a traceback for each line."""

    def __init__(self, name: str) -> None:
        self.name, self.said = name, False

    def __call__(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not self.said:
            self.said = True
            print(f'{self.name} cannot be written any more: {error}.', file=sys.stderr, flush=True)
