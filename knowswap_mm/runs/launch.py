"""Which process this is, and which launch it belongs to."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import all_gather_object, get_world_size

from knowswap_mm.io.partial_file import machine_name

#: Set by tools/dist_train.sh and tools/slurm_train.sh to something random for each launch.
LAUNCH_VARIABLE = 'KNOWSWAP_LAUNCH'
_LAUNCHERS = (b'torchrun', b'torch.distributed', b'torch/distributed')


def process_name(number: int | None = None) -> str | None:
    """``machine:namespace:number:begin``: what no other process is called, now or later.

    Numbers of processes repeat: torchrun is number 1 in each container. The name also holds the
    running kernel, the namespace of the number, and when the process began. By default it is that
    of this process; None if there is no such process as seen from here, it has ended, or the system
    (not Linux) does not say.
    """
    number = os.getpid() if number is None else number
    stat = _stat(number)
    if stat is None or stat[0] in ('Z', 'X'):
        return None
    return f'{machine_name()}:{_namespace()}:{number}:{stat[19]}'


def lives(name: str) -> bool | None:
    """Whether a process that :func:`process_name` called so lives.

    None if that cannot be seen from here: another machine, another container.
    """
    machine, namespace, number, _ = name.split(':')
    if machine != machine_name() or namespace != _namespace():
        return None
    return process_name(int(number)) == name


def launch_name() -> str | None:
    """The same for a process and for what torchrun starts again in its place, and for no other.

    It is the torchrun that started this process, by :func:`process_name`, and what
    ``tools/dist_train.sh`` drew when it was called (issue 24: machine name, number and run id are
    equal in all containers). None if nothing starts this process again, or that cannot be told.
    """
    if 'TORCHELASTIC_RUN_ID' not in os.environ:
        return None
    names = [os.environ.get(LAUNCH_VARIABLE), process_name(_launcher())]
    return ':'.join(name for name in names if name) or None


def launch_names() -> list[str]:
    """The launch of each machine of a run; all processes must ask together.

    Those of a restart have one in common with those before, even if the first process is another
    machine's then.
    """
    name = launch_name()
    names = all_gather_object(name) if get_world_size() > 1 else [name]
    return sorted({each for each in names if each})


def config_hash(cfg: Config) -> str:
    """A hash of all that a config says, the same whenever it is read again.

    Also of what the runner writes into the work dir, which has other lines in another order: a
    config may lie where the runner replaces it.
    """
    text = json.dumps(_ordered(cfg.to_dict()))
    return hashlib.sha256(text.encode()).hexdigest()


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        pairs = ((str(key), _ordered(item)) for key, item in value.items())
        return dict(sorted(pairs, key=lambda pair: pair[0]))
    if isinstance(value, (set, frozenset)):
        return sorted(map(repr, value))
    if isinstance(value, (list, tuple)):
        return [_ordered(item) for item in value]
    return re.sub(r' at 0x[0-9a-f]+', '', repr(value))


def _launcher() -> int:
    """The nearest torchrun above this process; its parent if none is found."""
    number = parent = os.getppid()
    while number > 0 and sys.platform.startswith('linux'):
        try:
            command = Path(f'/proc/{number}/cmdline').read_bytes()
        except OSError:
            break
        if any(word in command for word in _LAUNCHERS):
            return number
        stat = _stat(number)
        number = int(stat[1]) if stat else 0
    return parent


def _stat(number: int) -> list[str] | None:
    """Fields of ``/proc/<number>/stat`` from the third one, the state, on."""
    try:
        if os.readlink('/proc/self') != str(os.getpid()):  # /proc is that of another namespace
            return None
        text = Path(f'/proc/{number}/stat').read_text(encoding='utf-8', errors='replace')
    except OSError:
        return None
    return text.rsplit(')', 1)[1].split()


def _namespace() -> str:
    try:
        return os.readlink('/proc/self/ns/pid').strip('pid:[]')
    except OSError:
        return ''
