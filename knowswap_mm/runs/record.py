"""What a run leaves behind so that it can be repeated."""

from __future__ import annotations

import os
import platform
import resource
import shlex
import subprocess
import sys
import time
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_world_size

from knowswap_mm.datasets.host_config import inner_config, type_of
from knowswap_mm.datasets.role_counts import role_counts
from knowswap_mm.datasets.role_dataset import data_manifest
from knowswap_mm.io.files import remove_partial, write_json, write_text
from knowswap_mm.io.text_files import read_json
from knowswap_mm.runs.files import (
    CHECKPOINTS,
    INDICES_FILE,
    LATEST_FILE,
    RECORD_FILE,
    REPEAT_FILE,
    SCHEDULE_FILE,
    STARTS_FILE,
    UNFINISHED,
    config_file,
)
from knowswap_mm.runs.launch import process_name
from knowswap_mm.runs.reader import read_run_log
from knowswap_mm.version import __version__


class RunLog:
    """Keeps ``starts.json``: one entry for each time the run was started or resumed.

    An entry has ``command``, ``iteration`` (at which it began), ``started``, ``processes``,
    ``device``, ``versions``, and at the end ``seconds``, ``host_memory`` (largest of the process,
    in MiB), ``device_memory`` (largest that torch took, in MiB; None without CUDA) and, where the
    swap was not done, ``ended`` (``iteration``, ``reason``, ``change``).

    Args:
        folder (str | Path): Folder of the run.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / STARTS_FILE
        self._clock = time.monotonic()
        self._entries: list[dict[str, Any]] = []

    def begin(self, iteration: int, processes: int) -> None:
        """Add an entry; a run from the beginning drops those of an earlier one."""
        if iteration:
            self._entries = read_run_log(self.path.parent)
        cuda = torch.cuda.is_available()
        self._entries.append(
            dict(
                command=command_line(),
                iteration=iteration,
                started=datetime.now().astimezone().isoformat(timespec='seconds'),
                processes=processes,
                device=torch.cuda.get_device_name() if cuda else f'CPU ({platform.machine()})',
                versions=dict(
                    knowswap_mm=__version__,
                    torch=torch.__version__,
                    python=platform.python_version(),
                ),
            )
        )
        self._clock = time.monotonic()
        self._write()

    def end(self, ended: dict[str, Any] | None = None) -> None:
        """Complete the entry, with why the run ended early if it did."""
        peak = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None
        self._entries[-1].update(
            seconds=round(time.monotonic() - self._clock, 1),
            host_memory=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            device_memory=None if peak is None else round(peak),
            **({} if ended is None else dict(ended=ended)),
        )
        self._write()

    def _write(self) -> None:
        write_json(self.path, self._entries, indent=1)


def command_line() -> str:
    """The command of this process, with paths inside the current folder relative to it."""
    here = f'{os.getcwd()}{os.sep}'
    program, *arguments = (part.removeprefix(here) for part in sys.argv)
    if Path(program).name in ('knowswap', '__main__.py'):
        return shlex.join(['knowswap', *arguments])
    return shlex.join(['python', program, *arguments])


#: The variables that may change numbers, and hold nothing secret. No others are written down: the
#: environment of a cluster has tokens, also under names such as TORCH_... (issue 24).
_VARIABLES = frozenset(
    """
    CUBLASLT_WORKSPACE_SIZE CUBLAS_WORKSPACE_CONFIG CUDA_DEVICE_MAX_CONNECTIONS CUDA_DEVICE_ORDER
    CUDA_LAUNCH_BLOCKING CUDA_MODULE_LOADING CUDA_VISIBLE_DEVICES GLOO_DEVICE_TRANSPORT
    GLOO_SOCKET_IFNAME KMP_AFFINITY KMP_BLOCKTIME KMP_DETERMINISTIC_REDUCTION MKL_CBWR MKL_DYNAMIC
    MKL_NUM_THREADS MKL_THREADING_LAYER NCCL_ALGO NCCL_BUFFSIZE NCCL_CROSS_NIC NCCL_IB_DISABLE
    NCCL_MAX_CTAS NCCL_MAX_NCHANNELS NCCL_MIN_CTAS NCCL_MIN_NCHANNELS NCCL_NTHREADS
    NCCL_NVLS_ENABLE NCCL_P2P_DISABLE NCCL_P2P_LEVEL NCCL_PROTO NCCL_SHM_DISABLE NCCL_SOCKET_IFNAME
    NVIDIA_TF32_OVERRIDE OMP_DYNAMIC OMP_NUM_THREADS OMP_PLACES OMP_PROC_BIND OMP_SCHEDULE
    OMP_THREAD_LIMIT OPENBLAS_NUM_THREADS PYTHONHASHSEED PYTORCH_ALLOC_CONF PYTORCH_CUDA_ALLOC_CONF
    PYTORCH_ENABLE_MPS_FALLBACK PYTORCH_NO_CUDA_MEMORY_CACHING TORCHDYNAMO_DISABLE
    TORCHELASTIC_MAX_RESTARTS TORCHELASTIC_RESTART_COUNT TORCHINDUCTOR_MAX_AUTOTUNE
    TORCH_ALLOW_TF32_CUBLAS_OVERRIDE TORCH_BLAS_PREFER_CUBLASLT TORCH_COMPILE_DISABLE
    TORCH_CUDNN_V8_API_DISABLED TORCH_CUDNN_V8_API_LRU_CACHE_LIMIT TORCH_NCCL_ASYNC_ERROR_HANDLING
    TORCH_NCCL_AVOID_RECORD_STREAMS TORCH_NCCL_BLOCKING_WAIT TORCH_NCCL_HIGH_PRIORITY
    """.split()
)


def begin_run_folder(runner: Any) -> int:
    """Write all that a run says of itself before its first iteration.

    Only a run that does begin may call it: these replace the files of an earlier one. Returns when
    it began, in nanoseconds by the clock of the storage.

    Raises:
        CheckpointError: If the folder cannot be written to.
    """
    folder, dataset = Path(runner.work_dir), runner.train_dataloader.dataset
    remove_partial(folder, (*CHECKPOINTS, LATEST_FILE, '*.json', *UNFINISHED))
    _write_schedule(runner)
    write_json(folder / INDICES_FILE, dataset.drawn_indices, indent=None)
    RunRecord(runner).write()
    return (folder / RECORD_FILE).stat().st_mtime_ns


def note_decisions(runner: Any) -> None:
    """Write the schedule of a run that goes on anew, and its decisions into ``run.json``.

    Raises:
        CheckpointError: If the folder cannot be written to.
    """
    _write_schedule(runner)
    path = Path(runner.work_dir) / RECORD_FILE
    decisions = [each.to_dict() for each in runner.swap_schedule.decisions]
    write_json(path, read_json(path) | dict(decisions=decisions))


def _write_schedule(runner: Any) -> None:
    classes = runner.train_dataloader.dataset.classes.to_dict()
    schedule = dict(classes=classes, **runner.swap_schedule.to_dict())
    write_json(Path(runner.work_dir) / SCHEDULE_FILE, schedule)


@cache
def _packages() -> dict[str, str]:
    """Versions of all that is installed; a fifth of a tiny run, so a process reads them once."""
    return dict(sorted((each.name, each.version) for each in distributions()))


class RunRecord:
    """``run.json`` and ``repeat.sh`` of a run folder.

    ``run.json`` holds the command, seed, number of processes, model, weights and data in words, the
    plan (numbers of the recipe), versions of all packages, state of the git repositories, a hash of
    the samples of each role, and their number by class, and what the run decided about its
    schedule.
    ``repeat.sh NEW_FOLDER`` runs the config of the folder again, on one machine, with the same seed
    and number of processes.

    Args:
        runner (SwapRunner): The runner, with its data.
    """

    def __init__(self, runner: Any) -> None:
        self.runner = runner
        name = runner.cfg.filename
        #: What mmengine calls the config in the work dir.
        self.config = config_file(name, runner.work_dir) if name else f'{runner.timestamp}.py'

    def write(self) -> None:
        """Write both files.

        Raises:
            CheckpointError: If the folder cannot be written to.
        """
        folder = Path(self.runner.work_dir)
        write_json(folder / RECORD_FILE, self.to_dict())
        write_text(folder / REPEAT_FILE, self.repeat())

    def to_dict(self) -> dict[str, Any]:
        """What ``run.json`` holds."""
        runner = self.runner
        return dict(
            run=runner.run_id,
            launches=runner.launches,
            process=process_name(),
            config_sha256=runner.config_hash,
            started=datetime.now(timezone.utc).isoformat(timespec='seconds'),
            resumed_at=runner.iter or None,
            command=[sys.executable, *sys.argv],
            folder=os.getcwd(),
            config=self.config,
            seed=runner.seed,
            deterministic=bool(torch.are_deterministic_algorithms_enabled()),
            processes=get_world_size(),
            decisions=[each.to_dict() for each in runner.swap_schedule.decisions],
            total_batch=runner.swap_schedule.batch_size * runner.swap_schedule.world_size,
            about=describe_run(runner.cfg),
            plan=runner.plan.to_list(),
            devices=_devices(),
            python=platform.python_version(),
            platform=platform.platform(),
            packages=_packages(),
            environment={k: v for k, v in sorted(os.environ.items()) if k in _VARIABLES},
            git=dict(package=git_state(Path(__file__)), folder=git_state(Path.cwd())),
            data=data_manifest(runner.train_dataloader.dataset),
            roles=role_counts(runner.train_dataloader.dataset.views),
        )

    def repeat(self) -> str:
        """The text of ``repeat.sh``."""
        world = get_world_size()
        python = f'"${{PYTHON:-{shlex.quote(sys.executable)}}}"'
        command = f'{python} -m '
        if world > 1:
            together = f'torch.distributed.run --nproc_per_node={world}'
            command += f'{together} --master_port="${{PORT:-$((20000 + RANDOM % 10000))}}" -m '
        chosen = f'randomness.seed={self.runner.seed}'
        return (
            '#!/usr/bin/env bash\n'
            '# Repeats this run in another folder: bash repeat.sh NEW_FOLDER\n'
            'set -euo pipefail\n'
            '[ $# -eq 1 ] || { echo "usage: $0 NEW_FOLDER" >&2; exit 2; }\n'
            'here=$(cd "$(dirname "$0")" && pwd)\n'
            'mkdir -p "$1"\n'
            'new=$(cd "$1" && pwd)\n'
            f'cd {shlex.quote(os.getcwd())}\n'
            f'exec {command}knowswap_mm train "$here"/{shlex.quote(self.config)} \\\n'
            f'    --work-dir "$new" --launcher {"pytorch" if world > 1 else "none"} \\\n'
            f'    --cfg-options {chosen} resume=False\n'
        )


def describe_run(cfg: Any) -> dict[str, str]:
    """Model, starting weights and data of a config in words, without folders of this machine."""
    host = cfg.model.host
    backbone = host.get('backbone') or {}
    backbone = backbone.get('backbone') or backbone  # ours wraps that of the host
    arch = backbone.get('arch')
    parts = [type_of(backbone), *([arch] if isinstance(arch, str) else [])]
    inside = ' '.join(part for part in parts if part)
    data: dict[str, None] = {}
    for role in cfg.train_dataloader.dataset.roles.values():
        dataset = inner_config(role.dataset)
        root = Path(str(dataset.get('data_root') or '')).parts[-2:]
        data[f'{type_of(dataset)} {"/".join(root).strip("/")}'.strip()] = None
    return dict(
        model=f'{type_of(host)} with {inside}' if inside else type_of(host),
        weights=Path(str(cfg.get('load_from') or '')).name,
        data=', '.join(data),
    )


def git_state(path: Path) -> dict[str, Any] | None:
    """Commit and changed files of the git repository that a folder, or a known file, is in.

    Those are ``commit`` and ``changed`` (as ``git status --short`` has it); None if there is no
    repository, or no git.
    """
    folder = path if path.is_dir() else path.parent
    try:
        if path.is_file():
            _git(folder, 'ls-files', '--error-unmatch', path.name)
        commit = _git(folder, 'rev-parse', 'HEAD').strip()
        changed = _git(folder, 'status', '--short', '--untracked-files=no').splitlines()
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(commit=commit, changed=changed)


def _git(folder: Path, *arguments: str) -> str:
    command = ['git', '-C', str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout


def _devices() -> list[str]:
    if not torch.cuda.is_available():
        return ['cpu']
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
