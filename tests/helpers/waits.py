"""Finds the places where a training loop waits for the device, without a device."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

#: Operators whose result the host must know: numbers, and shapes that depend on values.
_READING = (
    '_local_scalar_dense', 'item', 'is_nonzero', 'equal', 'nonzero', 'masked_select', '_unique2',
    'unique_dim', 'unique_consecutive', 'repeat_interleave', 'bincount',
)  # fmt: skip
#: Methods that copy from the device without an operator that shows.
_COPYING = ('tolist', 'numpy', '__array__', 'cpu')
#: Functions that copy from Python's memory to a device, if they are given one.
_MAKING = ('tensor', 'as_tensor')


class _Operators(TorchDispatchMode):
    def __init__(self, note: Callable[[str, Tensor], None]) -> None:
        super().__init__()
        self.note = note

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function.overloadpacket.__name__
        if name in _READING or (name == 'index' and _by_mask(args[1])):
            self.note(name, args[0])
        if name == '_to_copy' and kwargs.get('device') not in (None, args[0].device):
            self.note(name, args[0])
        if name == 'copy_' and args[0].device != args[1].device:
            self.note(name, args[1])
        return function(*args, **kwargs)


class _Methods(TorchFunctionMode):
    def __init__(self, note: Callable[[str, Tensor], None]) -> None:
        super().__init__()
        self.note = note

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(function, '__name__', '')
        if name in _COPYING and args and isinstance(args[0], Tensor):
            self.note(name, args[0])
        result = function(*args, **kwargs)
        # The text 'cpu' means the host; a device that was asked of a tensor could be any.
        if name == 'new_tensor' or (name in _MAKING and kwargs.get('device') not in (None, 'cpu')):
            self.note(name, result)
        return result


@contextmanager
def waits(lies_on_host: Callable[[Tensor], bool] = lambda tensor: False) -> Iterator[list[str]]:
    """Collects where the code inside would make the host wait, if its tensors lay on a device.

    Args:
        lies_on_host: Whether a tensor would lie on the host even then, so that it may be read.

    Yields:
        list[str]: The operators with the place in our code, or in the libraries' above torch.
    """
    found: list[str] = []

    def note(name: str, tensor: Tensor) -> None:
        if not lies_on_host(tensor):
            found.append(f'{name} at {_place()}')

    with _Methods(note), _Operators(note):
        yield found


def _by_mask(indices: list[Tensor | None]) -> bool:
    return any(index is not None and index.dtype == torch.bool for index in indices)


def _place() -> str:
    frame = sys._getframe(2)
    while frame.f_back is not None:
        path = frame.f_code.co_filename
        if '/torch/' not in path and not path.endswith('/waits.py'):
            return f'{path}:{frame.f_lineno}'
        frame = frame.f_back
    return 'unknown'
