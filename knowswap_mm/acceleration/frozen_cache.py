"""A module that keeps something made of its frozen weights."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from knowswap_mm.acceleration.acceleration import mixed_class
from knowswap_mm.compat import NoticesNewWeights, version_of


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
        key = (dtype, *((tensor.data_ptr(), version_of(tensor)) for tensor in tensors))
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


class KeepsFrozen(NoticesNewWeights):
    """Mixin of modules with a :class:`FrozenCache`, which is emptied where weights are replaced.

    That is when a state dict is loaded, when the module is moved or cast, and when its mode
    changes: hooks that exchange weights for an evaluation write through ``tensor.data``.
    """

    _frozen_cache: FrozenCache

    @classmethod
    def adopt(cls, module: nn.Module) -> None:
        """Mix this class into that of a module.

        Args:
            module (nn.Module): The module; its class is changed.
        """
        module.__class__ = mixed_class(cls, type(module))
        module._frozen_cache = FrozenCache()

    def train(self, mode: bool = True) -> KeepsFrozen:
        """Set the mode."""
        if mode != self.training:
            self._frozen_cache.clear()
        return super().train(mode)

    def weights_change(self) -> None:
        """Forget what was made of the weights."""
        self._frozen_cache.clear()


def may_keep(*tensors: Tensor | None) -> bool:
    """Whether what is made of these tensors may be kept: they are frozen, and no graph is traced.

    A compiled graph cannot ask for addresses and versions.
    """
    tracing = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return not tracing and not any(t is not None and t.requires_grad for t in tensors)
