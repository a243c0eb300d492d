"""Processes that train together."""

from __future__ import annotations

import atexit
import gc
import os
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import broadcast_object_list, get_rank, get_world_size, is_distributed

from knowswap_mm.checks import check_number
from knowswap_mm.distributed.meeting import Meeting, meet
from knowswap_mm.errors import ConfigError, SwapError

_NEEDED = ('SLURM_PROCID', 'SLURM_NTASKS')
_NODES = ('SLURM_STEP_NODELIST', 'SLURM_JOB_NODELIST', 'SLURM_NODELIST')
#: Ports that neither services nor outgoing connections (from 32768 on) use.
_FIRST_PORT, _PORTS = 15000, 15000


def set_slurm_variables() -> None:
    """Set ``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``, ``MASTER_ADDR`` and ``MASTER_PORT``.

    Address and port that are set already stay. The port is a function of job and step, so that two
    jobs that share a machine do not meet. mmengine's own start asks CUDA for a device, and uses
    one port for all (issue 24).

    Raises:
        ConfigError: If the process was not started by srun.
    """
    missing = [name for name in _NEEDED if not os.environ.get(name)]
    nodes = next((os.environ[name] for name in _NODES if os.environ.get(name)), None)
    if nodes is None and not os.environ.get('MASTER_ADDR'):
        missing.append(_NODES[0])
    if missing:
        problem = f'the variable {missing[0]} is not set, so srun did not start this process'
        fix = 'start it with srun (tools/slurm_train.sh), or use --launcher none'
        raise ConfigError('launcher', 'slurm', problem, fix)
    rank = int(os.environ['SLURM_PROCID'])
    devices = torch.cuda.device_count()
    local = int(os.environ.get('SLURM_LOCALID') or rank)
    # With one device bound to each task, every task has a device 0 only.
    os.environ['LOCAL_RANK'] = str(local % devices if devices else local)
    os.environ['RANK'], os.environ['WORLD_SIZE'] = str(rank), os.environ['SLURM_NTASKS']
    if not os.environ.get('MASTER_ADDR'):
        os.environ['MASTER_ADDR'] = first_node(nodes)
    if not os.environ.get('MASTER_PORT'):
        os.environ['MASTER_PORT'] = str(port_of_step())


def first_node(nodes: str) -> str:
    """The first machine of a list as Slurm writes it, e.g. ``node[007-010,020],login1``."""
    first = re.match(r'(?:[^,\[]|\[[^\]]*\])*', nodes.strip())[0]
    return re.sub(r'\[(\w+)[^\]]*\]', r'\1', first)


def port_of_step() -> int:
    """A port that only this step of this job has."""
    numbers = (os.environ.get(name, '') for name in ('SLURM_JOB_ID', 'SLURM_STEP_ID'))
    job, step = (int(number) if number.isdecimal() else 0 for number in numbers)
    return _FIRST_PORT + (31 * job + step) % _PORTS


#: Seconds that processes wait for one another if ``env_cfg.dist_cfg.timeout`` says nothing.
TIMEOUT = 1800
#: Further seconds before torch gives up by itself, so that the message that names a rank is first.
GRACE = 60


def with_timeout(env_cfg: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """Check the timeout of a config (seconds), and let torch wait a little longer than that.

    Returns ``env_cfg`` for mmengine, and the seconds that the config says.

    Raises:
        ConfigError: If it is no number of seconds.
    """
    dist_cfg = dict(env_cfg.get('dist_cfg') or {})
    seconds = dist_cfg.get('timeout')
    seconds = TIMEOUT if seconds is None else seconds
    fix = f'e.g. {TIMEOUT} seconds, or leave it out'
    check_number('env_cfg.dist_cfg.timeout', seconds, 'in (0, 1e9]', fix)
    return dict(env_cfg, dist_cfg=dict(dist_cfg, timeout=seconds + GRACE)), float(seconds)


def with_meeting(env_cfg: dict[str, Any], seconds: float) -> tuple[dict[str, Any], Meeting | None]:
    """Let the processes of a launch meet before torch connects them, see :class:`Meeting`.

    Returns ``env_cfg`` with what ``init_process_group`` needs; and the meeting, to be told when the
    group is there. None if it is there already.

    Raises:
        ConfigError: If the environment tells of no others, or the port is in use.
        SwapError: If not all come.
    """
    if is_distributed():
        return env_cfg, None
    meeting, group = meet(seconds)
    return dict(env_cfg, dist_cfg=dict(env_cfg.get('dist_cfg') or {}, **group)), meeting


def start_gloo(env_cfg: dict[str, Any]) -> None:
    """Let processes without an accelerator talk: mmengine's own start-up asks CUDA for a device."""
    if get_device() == 'cpu' and not is_distributed():
        settings = env_cfg['dist_cfg']
        store = {key: settings[key] for key in ('store', 'rank', 'world_size') if key in settings}
        timeout = timedelta(seconds=settings['timeout'])
        torch.distributed.init_process_group('gloo', timeout=timeout, **store)
        atexit.register(_leave)


def of_rank_0(value: Any) -> Any:
    """What the first process has (anything that can be pickled), in every process."""
    if get_world_size() == 1:
        return value
    shared = [value]
    broadcast_object_list(shared)
    return shared[0]


def on_rank_0(function: Callable[[], Any]) -> Any:
    """Call something in the first process only; all get its result, or fail as it does.

    Raises:
        SwapError: What it raised. In the first process it is the same object.
    """
    result, error = None, None
    if get_rank() == 0:
        try:
            result = function()
        except SwapError as found:
            error = found
    result, text = of_rank_0((result, None if error is None else str(error)))
    if error is not None:
        raise error
    if text is not None:
        raise SwapError(f'Rank 0 failed: {text}')
    return result


def _leave() -> None:
    """Let gloo's threads end before the interpreter does.

    Such a thread frees the tensors of its last exchange; if it comes to that when the interpreter
    is already ending, the process aborts. The group's destructor waits for its threads, but only
    runs when nothing refers to the group any more, hence the collection of what is left.
    """
    if is_distributed():
        gc.collect()
        torch.distributed.destroy_process_group()
        gc.collect()
