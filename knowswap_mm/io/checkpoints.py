"""Weight files, and what mmengine itself reads, as data only."""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from mmengine.fileio import PickleHandler, YamlHandler, register_handler
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from safetensors.torch import load_file

from knowswap_mm.errors import CheckpointError, FileError, reason_of
from knowswap_mm.io.files import write_atomic
from knowswap_mm.io.pickles import arrays_of, check_contents, read_arrays

#: What torch says of bytes that are no pickle at all, under the name of a refusal.
_NO_PICKLE = re.compile('invalid load key|Unsupported operand|magic number|memo number')

_UNKNOWN_NAME = re.compile(r'GLOBAL ([\w.]+)')


class _StoredHistory:
    """Stands in for mmengine's HistoryBuffer while a file is read: it holds arrays, no methods."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state

    def restore(self) -> HistoryBuffer:
        """Build the buffer anew from the numbers."""
        log = np.asarray(self.state.get('_log_history', ()), dtype=float)
        count = np.asarray(self.state.get('_count_history', ()), dtype=float)
        if log.ndim != 1 or log.shape != count.shape:
            raise ValueError(f'a history of shape {log.shape} with counts of shape {count.shape}')
        return HistoryBuffer(list(log), list(count), int(self.state.get('max_length', 1_000_000)))


def _no_attribute(*_: Any) -> None:
    """Stands in for ``getattr``, by which HistoryBuffer refers to its own methods."""


def _allowed() -> list[Any]:
    """Names that a checkpoint of OpenMMLab may use; none of them runs code."""
    rebuild_array, rebuild_scalar = np.empty(0).__reduce__()[0], np.float64().__reduce__()[0]
    allowed: list[Any] = [
        OrderedDict,
        Namespace,  # the options of a run, in checkpoints of DINO's code
        np.ndarray,
        np.dtype,
        (_StoredHistory, 'mmengine.logging.history_buffer.HistoryBuffer'),
        (_no_attribute, 'builtins.getattr'),
        (_no_attribute, '__builtin__.getattr'),
    ]
    for package in ('numpy.core', 'numpy._core'):
        allowed.append((rebuild_array, f'{package}.multiarray._reconstruct'))
        allowed.append((rebuild_scalar, f'{package}.multiarray.scalar'))
    return allowed + [type(np.dtype(code)) for code in '?bBhHiIlLqQefd']


def check_file(path: str | os.PathLike, key: str = 'load_from') -> None:
    """Refuse what is no local file; ``key`` is the option or config key that named it.

    Raises:
        CheckpointError: If it is none.
    """
    if '://' in str(path):
        raise CheckpointError(
            f'{key} = {str(path)!r}: is an address, and nothing is downloaded. Fix: download '
            'the file, compare its checksum with the one that its author gives, and name it here.'
        )
    if os.path.isfile(path):  # False for a name that is too long, too
        return
    problem, fix = 'no such file', 'give the path of a local checkpoint; nothing is downloaded'
    if os.path.isdir(path):
        problem = 'is no file but a folder'
        inside = sorted(Path(path).glob('*.pth'))  # of a run, its last phase comes last
        fix = f'give a file in it, {inside[-1]}' if inside else fix
    raise CheckpointError(f'{key} = {str(path)!r}: {problem}. Fix: {fix}.')


def safe_load(
    path: str | os.PathLike, map_location: Any = 'cpu', key: str = 'load_from'
) -> dict[str, Any]:
    """Read a ``.pth``, ``.safetensors`` or (detectron2's) ``.pkl`` file as data.

    A safetensors file is given as ``dict(state_dict=...)``. For ``key`` see :func:`check_file`.

    Raises:
        CheckpointError: If the file is missing, damaged, or would have to run code to be read.
    """
    check_file(path, key)
    path = Path(path)
    try:
        checkpoint = _read(path, map_location)
        if not isinstance(checkpoint, dict):
            kind = type(checkpoint).__name__
            raise CheckpointError(f'{path} holds a {kind}, no dict of weights.')
        check_contents(checkpoint, path.stat().st_size)
        _restore_histories(checkpoint)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        if _NO_PICKLE.search(str(error)):  # torch advises to read it as a program then
            raise _damaged(path, 'it is not what torch.save writes') from error
        named = _UNKNOWN_NAME.search(str(error))
        reason = f'it names {named[1]}' if named else str(error).splitlines()[0]
        raise CheckpointError(
            f'{path} holds objects that would have to be executed, so it is not read '
            f'({reason}). Fix: if you trust its author, convert it once to a file of tensors: '
            'torch.save({k: v for k, v in state_dict.items()}, new_path); '
            'docs/hostile_files.md has the whole command.'
        ) from error
    except Exception as error:  # a damaged file may raise anything
        raise _damaged(path, reason_of(error)) from error
    return checkpoint


def _read(path: Path, map_location: Any) -> Any:
    if path.suffix == '.safetensors':
        return dict(state_dict=load_file(path, device=str(torch.device(map_location))))
    if path.suffix == '.pkl':
        return read_arrays(path, map_location)
    _check_archive(path)
    with torch.serialization.safe_globals(_allowed()):
        return torch.load(path, map_location=map_location, weights_only=True)


def _check_archive(path: Path) -> None:
    """Compare what torch stored with its checksums and sizes, which ``torch.load`` does not do."""
    if not zipfile.is_zipfile(path):
        return  # of an old version of torch
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError('its parts are compressed; those of a weight file never are')
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise ValueError('its parts are larger than the file')
        wrong = archive.testzip()
    if wrong is not None:
        raise ValueError(f'the checksum of {wrong} is wrong')


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f'{path} is damaged and cannot be read, or is no checkpoint ({reason}). Fix: give a .pth '
        'or .safetensors file; if it is one, use an earlier one, or download it again.'
    )


def _restore_histories(checkpoint: dict[str, Any]) -> None:
    if 'message_hub' not in checkpoint:
        return
    scalars = checkpoint['message_hub']['log_scalars']
    for key, value in scalars.items():
        if isinstance(value, _StoredHistory):
            scalars[key] = value.restore()


def safe_save(checkpoint: dict[str, Any], path: Path) -> None:
    """Write tensors and plain data as a ``.pth`` file, see :func:`~.files.write_atomic`."""
    write_atomic(path, lambda file: torch.save(checkpoint, file))


def state_dict_of(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The weights in a checkpoint, with the prefix of a distributed wrapper taken off.

    Raises:
        CheckpointError: If it holds none.
    """
    state = checkpoint.get('state_dict', checkpoint.get('model', checkpoint))
    if not isinstance(state, dict):
        kind = type(state).__name__
        raise CheckpointError(f'The weights of a checkpoint must be a dict, this has a {kind}.')
    weights = {
        str(key).removeprefix('module.'): value
        for key, value in state.items()
        if isinstance(value, torch.Tensor)
    }
    if not weights:
        raise CheckpointError(f'The checkpoint holds no weights, only {sorted(checkpoint)[:8]}.')
    return weights


def read_weights(paths: Sequence[str | os.PathLike]) -> dict[str, torch.Tensor]:
    """The weights in one file, or in several that hold a part each, as data.

    Raises:
        CheckpointError: As :func:`safe_load`; also if two files hold a tensor of one name.
    """
    weights: dict[str, torch.Tensor] = {}
    for path in paths:
        part = state_dict_of(safe_load(path))
        if double := sorted(weights.keys() & part.keys()):
            raise CheckpointError(
                f'{path} holds {double[0]}, as a file before it does. Fix: name each part once.'
            )
        weights |= part
    return weights


#: A pattern that fits every path and comes before all others: mmengine sorts them backwards, and no
#: letter is behind a bar.
_EVERYTHING = '|'


def use_data_only_loader() -> None:
    """Let mmengine read files as data, in all of this process.

    A plain runner, and a host with ``init_cfg=dict(type='Pretrained')``, would unpickle a weight
    file in full, and download an address. ``mmengine.load``, by which data sets, metrics and losses
    read what their configs name (``ann_file``, ``proposal_file``, ``class_weight``), would run what
    is in a ``.pkl`` and a ``.yaml``.
    """
    CheckpointLoader.register_scheme(_EVERYTHING, loader=load_from_data_only, force=True)
    register_handler(['pickle', 'pkl'])(ArrayHandler)
    register_handler(['yaml', 'yml'])(PlainYamlHandler)


def load_from_data_only(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Read a local weight file as data.

    Raises:
        CheckpointError: As :func:`safe_load`.
    """
    return safe_load(filename, 'cpu' if map_location is None else map_location)


class ArrayHandler(PickleHandler):
    """Reads pickles of arrays, numbers and strings in dicts and lists; writes any."""

    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        """Read a pickle; options of ``pickle.load`` are not needed.

        Raises:
            FileError: If it holds anything else, which would be executed.
        """
        try:
            return arrays_of(file.read())
        except (pickle.UnpicklingError, ValueError, EOFError) as error:
            name = getattr(file, 'name', 'A pickle that the config names')
            fix = 'use json, or if you trust its author write its arrays into a new file'
            raise FileError(name, f'is not read, as it is no data ({error})', fix) from error


class PlainYamlHandler(YamlHandler):
    """Reads yaml without the tags that call Python."""

    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        """Read yaml; the loader is always the safe one."""
        return yaml.load(file, **dict(kwargs, Loader=yaml.SafeLoader))
