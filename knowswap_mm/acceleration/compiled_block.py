"""A block whose forward is compiled."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException

from knowswap_mm.acceleration.mixed_class import mixed_class


class CompiledBlock(nn.Module):
    """Mixin of transformer blocks: their forward runs as compiled code.

    All blocks of a class have one compiled function, so that equal blocks share what it compiled.
    A block that cannot be compiled says so and runs as before. Copies and pickles run as before,
    as those of blocks with torch's own ``compile`` do.
    """

    _compiled: Callable[..., Any] | None = None
    _evaluates = False

    @classmethod
    def adopt(cls, block: nn.Module, evaluation: bool, **settings: Any) -> None:
        """Mix this class into that of a block.

        Args:
            block (nn.Module): The block; its class is changed.
            evaluation (bool): Whether it is compiled for evaluation, too.
            **settings: Arguments of ``torch.compile``.
        """
        for module in block.modules():
            # mmpretrain takes drop rates from numpy, whose numbers end a graph.
            for name, value in vars(module).items():
                if isinstance(value, np.generic):
                    setattr(module, name, value.item())
        block._evaluates = evaluation
        block._compiled = _compiled_forward(type(block), tuple(sorted(settings.items())))
        block.__class__ = mixed_class(cls, type(block))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute what the block computes.

        Args:
            *args: As for the block.
            **kwargs: Likewise.
        """
        as_before = self._compiled is None or not (self.training or self._evaluates)
        if as_before or torch.compiler.is_compiling():
            return super().forward(*args, **kwargs)
        try:
            return self._compiled(self, *args, **kwargs)
        except TorchDynamoException as error:
            kind, reason = type(self).__bases__[1].__name__, str(error).strip().splitlines()
            warnings.warn(
                f'A {kind} cannot be compiled and runs without ({type(error).__name__}: '
                f'{reason[0] if reason else ""}). Fix: leave CompiledBlocks out of '
                'model.accelerations, or use another backend.',
                stacklevel=2,
            )
            self._compiled = None
        return super().forward(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        state.pop('_compiled', None)
        return state


@cache
def _compiled_forward(
    kind: type[nn.Module], settings: tuple[tuple[str, Any], ...]
) -> Callable[..., Any]:
    return torch.compile(kind.forward, **dict(settings))
