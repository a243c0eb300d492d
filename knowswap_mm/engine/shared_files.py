"""Files that all processes of a run must see."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterable
from pathlib import Path

from mmengine.dist import all_gather_object, get_world_size

from knowswap_mm.errors import CheckpointError

#: Bytes that are compared at both ends; the end of a checkpoint holds checksums of all its parts.
_END = 1 << 16


def check_shared(path: str | os.PathLike, key: str) -> None:
    """Refuse a checkpoint that is not there for all processes, or another one for some.

    All processes call it together. One that nobody has is left to whoever reads it.

    Args:
        path (str | PathLike): The file.
        key (str): The config key that led to it.

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
        f'on rank {rank} ({host}) it {"is another file" if mark in whole else mark}'
        for rank, (host, mark) in enumerate(found)
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

    Args:
        folder (Path): The work dir.
        patterns (Iterable[str]): Names of checkpoints, as for ``glob``.

    Raises:
        CheckpointError: In every process; names the ranks and their machines.
    """
    if get_world_size() == 1:
        return
    names = sorted(path.name for pattern in patterns for path in folder.glob(pattern))
    found = all_gather_object((socket.gethostname(), names))
    others = [f'rank {r} ({host}) has {n[-1]}' for r, (host, n) in enumerate(found) if n]
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
