"""The checkpoints of a run: named, found, compared between processes, and taken over."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import socket
import warnings
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_world_size, is_main_process
from mmengine.runner import Runner

from knowswap_mm.distributed.process_group import of_rank_0
from knowswap_mm.errors import CheckpointError, ConfigError, SwapError, reason_of
from knowswap_mm.io.checkpoints import safe_load
from knowswap_mm.io.files import write_text
from knowswap_mm.runs.files import CHECKPOINTS, LATEST_FILE, RECORD_FILE
from knowswap_mm.runs.launch import process_name

#: Bytes that are compared at both ends; the end of a checkpoint holds checksums of all its parts.
_END = 1 << 16


def check_shared(path: str | os.PathLike, key: str) -> None:
    """Refuse a checkpoint that is not there for all processes, or another one for some.

    All processes call it together. One that nobody has is left to whoever reads it. The ``key`` is
    the config key that led to the file.

    Raises:
        CheckpointError: In every process; names the ranks and their machines.
    """
    if get_world_size() == 1:
        return
    found = all_gather_object((socket.gethostname(), _mark(path)))
    marks = [mark for _, mark in found]
    whole = [mark for mark in marks if mark.startswith('sha256 ')]
    if not whole or len(set(marks)) == 1:
        return
    problems = [
        f'on rank {rank} ({machine}) it {"is another file" if mark in whole else mark}'
        for rank, (machine, mark) in enumerate(found)
        if mark != whole[0]
    ]
    has = marks.index(whole[0])
    raise CheckpointError(
        f'{key} = {str(path)!r}: rank {has} ({found[has][0]}) has it, but {"; ".join(problems)}. '
        'Each process reads the checkpoint itself. Fix: keep the work dir on storage that all '
        'machines share, or copy the file to the same path on each of them.'
    )


def check_no_other_has(folder: Path, patterns: Iterable[str]) -> None:
    """Refuse to begin anew if only the first process sees no checkpoints; all call it together.

    Raises:
        CheckpointError: In every process; names the ranks and their machines.
    """
    if get_world_size() == 1:
        return
    names = sorted(path.name for pattern in patterns for path in folder.glob(pattern))
    found = all_gather_object((socket.gethostname(), names))
    others = [f'rank {r} ({machine}) has {n[-1]}' for r, (machine, n) in enumerate(found) if n]
    if others and not found[0][1]:
        raise CheckpointError(
            f'resume: rank 0 ({found[0][0]}), which reads and writes the checkpoints, has none in '
            f'{folder}, but {"; ".join(others)}. Fix: keep the work dir on storage that all '
            'machines share, or copy its files to the machine of rank 0 (and to the others); to '
            'begin anew, leave --resume out.'
        )


def _mark(path: str | os.PathLike) -> str:
    try:
        if not os.path.isfile(path):
            return 'is not there'
        with Path(path).open('rb') as file:
            size = os.fstat(file.fileno()).st_size
            content = file.read(_END)
            file.seek(max(size - _END, 0))
            content += file.read(_END)
    except OSError as error:
        return f'cannot be read ({error.strerror or error})'
    return f'sha256 {size} {hashlib.sha256(content).hexdigest()}'


def write_latest(folder: str | os.PathLike, checkpoint: str | os.PathLike) -> None:
    """Note a checkpoint that is whole as the last one."""
    write_text(Path(folder) / LATEST_FILE, str(checkpoint))


def save_latest(runner: Runner, name: str, **settings: Any) -> Path:
    """Save the state of a run in its folder, and note it as the last one; returns the file.

    The ``settings`` are those of ``runner.save_checkpoint``.

    Raises:
        CheckpointError: If it cannot be written.
    """
    path = Path(runner.work_dir) / name
    runner.save_checkpoint(runner.work_dir, name, by_epoch=False, **settings)
    if is_main_process():
        write_latest(runner.work_dir, path)
    return path


def last_of_run(runner: Runner) -> Path | None:
    """The checkpoint from which a run in training would go on if it ended now; none is read.

    It is the last one that this run wrote, else the one that it was resumed from, if it is there;
    None if there is none. What an earlier run left in the folder does not count.
    """
    note = Path(runner.work_dir) / LATEST_FILE
    with suppress(OSError):
        named = Path(note.read_text(encoding='utf-8', errors='replace').strip())
        if note.stat().st_mtime_ns >= runner.began_ns and named.is_file():
            return named
    point = runner.resume_point
    found = point is not None and point.resumes and Path(point.path).is_file()
    return Path(point.path) if found else None


def read_latest(
    folder: str | os.PathLike, run: str | None = None
) -> tuple[Path, dict[str, Any]] | None:
    """Read the newest checkpoint of a run that can be read; None if there is none at all.

    The one that ``last_checkpoint`` names comes first (in this folder, should it have been moved),
    then the others from the newest to the oldest. Damaged ones are named in a warning, and so are
    those of other runs than ``run``: an earlier one may have left them in the folder.

    Raises:
        CheckpointError: If there are checkpoints, but none of them is whole.
    """
    folder, found = Path(folder), []
    if (folder / LATEST_FILE).is_file():
        named = Path((folder / LATEST_FILE).read_text(encoding='utf-8', errors='replace').strip())
        found += [named, folder / named.name]
    others = [path for pattern in CHECKPOINTS for path in folder.glob(pattern)]
    found += sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)
    found = [path for path in dict.fromkeys(found) if os.path.isfile(path)]
    damaged = 0
    for path in found:
        try:
            checkpoint = safe_load(path)
            problem = _problem(path, checkpoint)
            damaged += problem is not None
            if problem is None:
                if run is None or checkpoint['swap'].get('run', run) == run:
                    return path, checkpoint
                problem = f'{path} is of an earlier run in this folder.'
        except CheckpointError as error:
            problem, damaged = str(error), damaged + 1
        warnings.warn(f'Not resumed from: {problem}', stacklevel=2)
    if damaged:
        raise CheckpointError(
            f'None of the {len(found)} checkpoints in {folder} can be resumed from. Fix: start '
            'anew in another work_dir, or without --resume.'
        )
    return None


def _problem(path: Path, checkpoint: dict[str, Any]) -> str | None:
    if 'optimizer' not in checkpoint or not isinstance(checkpoint.get('swap'), dict):
        return f'{path} holds weights but no training state.'
    if checkpoint['swap'].get('window_open'):
        return f'{path} lacks the gradients of a window of accumulation that was open.'
    return None


#: What wrong types and missing fields raise in code that takes a checkpoint of ours for granted.
_ERRORS = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


def taken_over(load: Callable[..., Any]) -> Callable[..., Any]:
    """Let a method of a runner that takes a checkpoint over say so when it cannot.

    The first argument is the file. CheckpointError is raised where parts of the file are
    missing, of other types, or do not fit the optimizer.
    """

    @functools.wraps(load)
    def checked(runner: Any, filename: str, *args: Any, **settings: Any) -> Any:
        try:
            found = load(runner, filename, *args, **settings)
            _check_moments(getattr(runner.optim_wrapper, 'optimizer', None))
            return found
        except SwapError:
            raise
        except _ERRORS as error:
            raise CheckpointError(
                f'{filename} cannot be taken over: its state is not that of such a run '
                f'({reason_of(error)}). Fix: use an earlier checkpoint of the run, or start anew '
                'in another work_dir.'
            ) from error

    return checked


def _check_moments(optimizer: Any) -> None:
    if not isinstance(optimizer, torch.optim.Optimizer):
        return
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if not isinstance(value, torch.Tensor) or not value.ndim:
                continue
            if value.shape != parameter.shape:
                shapes = f'{tuple(value.shape)}, its parameter {tuple(parameter.shape)}'
                raise ValueError(f'{name} of the optimizer has shape {shapes}')
            if not bool(torch.isfinite(value).all()):
                raise ValueError(f'{name} of the optimizer is not finite')


#: ``resume`` of a config: go on from the latest checkpoint of the work dir if there is one.
AUTO = 'auto'


class ResumePoint:
    """Finds the checkpoint with which a run begins; all processes take that of the first one.

    - ``resume = 'auto'`` takes the latest one of the work dir that is whole and of the run that was
      started there last. If there is none, the run begins with ``load_from``.
    - ``resume = 'iter_500.pth'`` takes that one.
    - ``resume = True`` is mmengine's: the one in ``load_from``, or without it as ``'auto'``.
    - A run that torchrun started again (``--max-restarts``) takes the latest one that it wrote
      itself, whatever the config says. It is known by its launch, by a process that is not this
      one, and by the same config and seed.

    Args:
        folder (str | Path): The work dir.
        resume (bool | str): As above.
        load_from (str | None): The weights that the config names.
        launches (Iterable[str]): Names of the launch, see :func:`launch_names`.
        config (str | None): Hash of the config.

    Attributes:
        path (str | None): The file to read; None if there is none.
        resumes (bool): Whether it is the state of a run, not weights to begin with.
        missing (bool): Whether a checkpoint was looked for and there was none.

    Raises:
        ConfigError: If ``resume`` is something else.
        CheckpointError: If there are checkpoints, but none of them is whole; if rank 0 alone has
            none; or if the config of a launch was changed before it was started again.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        resume: bool | str,
        load_from: str | None,
        launches: Iterable[str] = (),
        config: str | None = None,
    ) -> None:
        if not isinstance(resume, (bool, str)):
            fix = "use 'auto', the path of a checkpoint, or False"
            raise ConfigError('resume', resume, 'neither a path nor a choice', fix)
        self.folder = Path(folder)
        self.path, self.resumes, self.missing = load_from, False, False
        self._content: dict[str, Any] | None = None
        self._launches, self._config = set(launches), config
        # torchrun's own count says nothing: it is that of a machine, and a run whose machines
        # change is not counted at all.
        if self._launches and self._look(own=True):
            return
        if isinstance(resume, str) and resume != AUTO:
            self.path, self.resumes = resume, True
        elif resume is True and load_from is not None:
            self.resumes = True
        elif resume:
            self.missing = not self._look()
            if self.missing:
                check_no_other_has(self.folder, CHECKPOINTS)

    def read(self, path: str) -> dict[str, Any] | None:
        """The contents of the file, once, if it had to be read to be found."""
        content, self._content = self._content, None
        return content if path == self.path else None

    def stored(self, name: str) -> Any:
        """What the run that goes on says of itself under a name; the same in all processes.

        None without such a run or name, and where the file cannot be read, which is told when it is
        taken over.
        """
        found = None
        if self.resumes and is_main_process():
            with suppress(CheckpointError):
                self._content = self._content or safe_load(self.path)
                swap = self._content.get('swap')
                found = swap.get(name) if isinstance(swap, dict) else None
        return of_rank_0(found) if self.resumes else None

    def name_first_weights(self, cfg: MutableMapping[str, Any]) -> None:
        """Let the config of a run that goes on by ``resume = True`` say what the run began with.

        mmengine's own options for resuming put the checkpoint, or nothing, into ``load_from``. To
        be called in all processes.
        """
        if not self.resumes:
            return
        if first := self.stored('load_from'):
            cfg['load_from'] = first
        elif cfg.get('load_from'):  # by an earlier version, whose checkpoints do not tell it
            cfg['resume'] = True

    def _look(self, own: bool = False) -> bool:
        found, problem = None, None
        if is_main_process():
            try:
                found, self._content = self._latest(own)
            except CheckpointError as error:
                problem = str(error)
        found, problem = of_rank_0((found, problem))
        if problem is not None:
            raise CheckpointError(problem)
        if found is not None:
            self.path, self.resumes = found, True
        return found is not None

    def _latest(self, own: bool) -> tuple[str | None, dict[str, Any] | None]:
        record = _read_record(self.folder)
        if own and not self._wrote(record):
            return None, None  # it was stopped before it began; what is here is older
        run = record.get('run')
        found = read_latest(self.folder, run if isinstance(run, str) else None)
        if own and found is not None:
            seeds = record.get('seed'), (found[1].get('meta') or {}).get('seed')
            if seeds[0] != seeds[1] or found[1]['swap'].get('run') != run:
                return None, None
            if record.get('config_sha256') != self._config:
                raise CheckpointError(
                    f'{self.folder}: the config was changed since this run began, and torchrun '
                    f'starts it again. Fix: to go on from {found[0].name} with the new config, '
                    'start it with --resume; to begin anew, give another work_dir.'
                )
        return (None, None) if found is None else (str(found[0]), found[1])

    def _wrote(self, record: Mapping[str, Any]) -> bool:
        """Whether an earlier start of this launch wrote the files of the folder."""
        launches = record.get('launches')
        if not isinstance(launches, list) or not self._launches.intersection(map(str, launches)):
            return False
        return record.get('process') != process_name()  # else it is the same one, a second time


def _read_record(folder: Path) -> Mapping[str, Any]:
    try:
        record = json.loads((folder / RECORD_FILE).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
