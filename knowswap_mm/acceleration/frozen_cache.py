"""What is made of frozen tensors, kept until one of them changes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor


class FrozenCache:
    """Keeps one value that is computed from frozen tensors, and makes it anew when they changed.

    A change is noticed by the address and the version counter of the tensors. Writing through
    ``tensor.data`` moves neither; whoever does so calls :meth:`clear`, or increments the version.

    The value is no part of anything that is saved: copies and pickles of a cache are empty.
    """

    def __init__(self) -> None:
        self._key: Hashable = None
        self._value: Any = None

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenCache:
        return FrozenCache()

    def __reduce__(self) -> tuple[type[FrozenCache], tuple[()]]:
        return FrozenCache, ()

    def clear(self) -> None:
        """Forget the value."""
        self._key = self._value = None

    def get(self, tensors: Sequence[Tensor], dtype: torch.dtype, make: Callable[[], Any]) -> Any:
        """Return the value, computing it where needed.

        Args:
            tensors (Sequence[Tensor]): The frozen tensors that it is made of.
            dtype (torch.dtype): Its type; one value is kept, for the type that was asked for last.
            make (Callable): Computes it; without gradients and outside of autocast.
        """
        if any(tensor.is_inference() for tensor in tensors):
            return self._made(tensors, make)  # they have no version
        key = (dtype, *((tensor.data_ptr(), tensor._version) for tensor in tensors))
        if key != self._key:
            self._value = self._made(tensors, make)
            self._key = key
        return self._value

    @staticmethod
    def _made(tensors: Sequence[Tensor], make: Callable[[], Any]) -> Any:
        # A tensor made in inference mode could not be used in training later on.
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            torch.autocast(tensors[0].device.type, enabled=False),
        ):
            return make()
