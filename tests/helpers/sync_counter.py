"""Counts what makes a GPU and its host wait for one another, on any device."""

from __future__ import annotations

import sys
from collections import Counter
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

#: Operators whose result, or its size, the host must know.
_READS = (
    'aten._local_scalar_dense',
    'aten.is_nonzero',
    'aten.nonzero',
    'aten._unique2',
    'aten.unique_dim',
    'aten.unique_consecutive',
    'aten.masked_select',
    'aten.equal',
    'aten.repeat_interleave.Tensor',
)
#: What moves no data and launches nothing.
_FREE = ('view', 'alias', 'detach', 'expand', 'permute', 'transpose', 'select', 'slice', 'unbind')
_FREE += ('split', 't', 'squeeze', 'unsqueeze', 'as_strided', 'empty', 'new_empty', 'lift_fresh')
_FREE += ('_unsafe_view', 'diagonal', 'unfold', 'empty_like', '_local_scalar_dense', 'is_nonzero')
#: Quiet on a GPU: the formula that replaces a compiled kernel, and the checks of ``one_hot``.
_CPU_ONLY = ('multi_scale_deformable_attn_pytorch', 'one_hot')


class SyncCounter(TorchFunctionMode):
    """Counts launches and copies between the devices inside a ``with`` block.

    On a CPU nothing is copied, so copies are seen by the calls that ask for them: a read is what
    waits for the device (``item``, ``cpu``, ``nonzero``, an index by a mask, ...), a write is what
    brings numbers of the host there (``new_tensor``, ``to(device)``, ...).

    Attributes:
        reads (Counter): Copies to the host, and waits, by the place that asked.
        writes (Counter): Copies to the device by the place that asked.
        operators (Counter): Operators that are no views, forward and backward, by name.
        launches (int): Their number.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()
        self.writes: Counter[str] = Counter()
        self.operators: Counter[str] = Counter()
        self._operators = _OperatorCounter(self)
        self._quiet = False

    @property
    def launches(self) -> int:
        return self.operators.total()

    def reads_in(self, *files: str) -> int:
        """Reads asked for in files whose paths contain one of these parts."""
        return sum(n for place, n in self.reads.items() if any(part in place for part in files))

    def __enter__(self) -> SyncCounter:
        super().__enter__()
        self._operators.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._operators.__exit__(kind, error, trace)
        super().__exit__(kind, error, trace)

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        kwargs = kwargs or {}
        name = getattr(function, '__name__', '')
        places = [each for each in (*args[1:], *kwargs.values()) if _is_place(each)]
        if name in ('cpu', 'tolist') or (name == 'to' and 'cpu' in places):
            self.note(self.reads, name)
        elif name in ('new_tensor', 'tensor', 'as_tensor', 'cuda') or (name == 'to' and places):
            # A device that is named by an object is the device of something else.
            self.note(self.writes, name)
        before, self._quiet = self._quiet, self._quiet or name in _CPU_ONLY
        try:
            return function(*args, **kwargs)
        finally:
            self._quiet = before

    def note(self, counter: Counter[str], what: str) -> None:
        """Count one event by its place, unless a GPU would not see it."""
        frame, place = sys._getframe(1), ''
        quiet = self._quiet
        while frame is not None:
            file, name = frame.f_code.co_filename, frame.f_code.co_name
            quiet = quiet or name in _CPU_ONLY
            ours = any(part in file for part in ('/torch/', 'sync_counter', '<'))
            if not ours and not place:
                place = f'{file.split("site-packages/")[-1]}:{frame.f_lineno} {name}'
            frame = frame.f_back
        if not quiet:
            counter[f'{what} in {place}'] += 1


class _OperatorCounter(TorchDispatchMode):
    def __init__(self, counter: SyncCounter) -> None:
        super().__init__()
        self.counter = counter

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        kwargs = kwargs or {}
        name = str(function)
        if name.startswith(_READS) or (name.startswith('aten.index') and _by_mask(args)):
            self.counter.note(self.counter.reads, name)
        if name.split('.')[1] not in _FREE:
            self.counter.operators[name] += 1
        return function(*args, **kwargs)


def _by_mask(args: Any) -> bool:
    indices = args[1] if len(args) > 1 and isinstance(args[1], (list, tuple)) else ()
    return any(isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8) for i in indices)


def _is_place(target: Any) -> bool:
    return isinstance(target, (str, torch.device))
