"""What Slurm says of a process, in the variables that torch reads."""

from __future__ import annotations

import os
import re

import torch

from knowswap_mm.errors import ConfigError

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
    """The first machine of a list as Slurm writes it.

    Args:
        nodes (str): E.g. ``node[007-010,020],login1``.
    """
    first = re.match(r'(?:[^,\[]|\[[^\]]*\])*', nodes.strip())[0]
    return re.sub(r'\[(\w+)[^\]]*\]', r'\1', first)


def port_of_step() -> int:
    """A port that only this step of this job has."""
    numbers = (os.environ.get(name, '') for name in ('SLURM_JOB_ID', 'SLURM_STEP_ID'))
    job, step = (int(number) if number.isdecimal() else 0 for number in numbers)
    return _FIRST_PORT + (31 * job + step) % _PORTS
