"""A module that keeps something made of its frozen weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from knowswap_mm.acceleration.frozen_cache import FrozenCache
from knowswap_mm.acceleration.mixed_class import mixed_class


class KeepsFrozen(nn.Module):
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

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> KeepsFrozen:
        self._frozen_cache.clear()
        return super()._apply(fn, *args, **kwargs)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._frozen_cache.clear()
        super()._load_from_state_dict(*args, **kwargs)


def may_keep(*tensors: Tensor | None) -> bool:
    """Whether what is made of these tensors may be kept: they are frozen, and no graph is traced.

    A compiled graph cannot ask for addresses and versions.
    """
    tracing = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return not tracing and not any(t is not None and t.requires_grad for t in tensors)
