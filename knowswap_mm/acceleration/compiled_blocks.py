"""Transformer blocks that are compiled one by one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from knowswap_mm.acceleration.acceleration import Acceleration
from knowswap_mm.checks import check_flag, check_texts, check_whole
from knowswap_mm.compat import allow_recompilations, compiler_error
from knowswap_mm.errors import ConfigError
from knowswap_mm.registry import ACCELERATIONS


class CompiledBlock(nn.Module):
    """Mixin of transformer blocks: their forward runs as compiled code.

    All blocks of a class have one compiled function, so that equal blocks share what it compiled.
    A block that cannot be compiled says so and runs as before. Copies and pickles run as before,
    as those of blocks with torch's own ``compile`` do.
    """

    _compiled: Callable[..., Any] | None = None
    _evaluates = False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute what the block computes, of the same arguments."""
        as_before = self._compiled is None or not (self.training or self._evaluates)
        if as_before or torch.compiler.is_compiling():
            return super().forward(*args, **kwargs)
        try:
            return self._compiled(self, *args, **kwargs)
        except compiler_error() as error:
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


_MODES = (None, 'default', 'reduce-overhead', 'max-autotune', 'max-autotune-no-cudagraphs')


@ACCELERATIONS.register_module()
class CompiledBlocks(Acceleration):
    """Makes transformer blocks :class:`CompiledBlock`: regional ``torch.compile``.

    It is for images of one size: with ``dynamic=False`` every new shape of a block's input is
    compiled again, up to ``limit`` times. Name it last, so that the blocks hold what the other
    accelerations made of them. The first steps take minutes; random numbers inside blocks (dropout,
    stochastic depth) are drawn in another order than without, the same in every run.

    Args:
        blocks (Sequence[str]): Class names of what is compiled, subclasses included.
        backend (str): A backend of ``torch.compile``.
        mode (str | None): A mode of the backend ``inductor``. Those with CUDA graphs
            (``reduce-overhead``, ``max-autotune``) let a block overwrite its last output.
        fullgraph (bool): Whether a block that cannot be compiled as one graph is not compiled.
        dynamic (bool | None): Whether shapes may vary in one compiled code; None lets torch decide
            after the second shape.
        evaluation (bool): Whether evaluation runs compiled code, too. Each size of batch is
            compiled then, the last one of a data set as well.
        limit (int): How many times a class of blocks is compiled at most: for training and
            evaluation, shifted and unshifted windows, stages, shapes. Raises torch's own limit,
            which holds for the whole process.

    Raises:
        ConfigError: If a value cannot be used.
    """

    mixin = CompiledBlock

    def __init__(
        self,
        blocks: Sequence[str] = ('TransformerEncoderLayer', 'SwinBlock'),
        backend: str = 'inductor',
        mode: str | None = None,
        fullgraph: bool = False,
        dynamic: bool | None = False,
        evaluation: bool = False,
        limit: int = 64,
    ) -> None:
        key = 'model.accelerations.CompiledBlocks'
        check_texts(f'{key}.blocks', blocks, 'SwinBlock')
        check_flag(f'{key}.fullgraph', fullgraph)
        check_flag(f'{key}.evaluation', evaluation)
        if dynamic is not None:
            check_flag(f'{key}.dynamic', dynamic)
        if backend not in (known := torch.compiler.list_backends(None)):
            raise ConfigError(f'{key}.backend', backend, 'unknown backend', f'use one of {known}')
        if mode not in _MODES:
            raise ConfigError(f'{key}.mode', mode, 'unknown mode', f'use one of {_MODES}')
        if mode is not None and backend != 'inductor':
            fix = "leave it out, or use the backend 'inductor'"
            raise ConfigError(f'{key}.mode', mode, f'{backend} has no modes', fix)
        check_whole(f'{key}.limit', limit, 1, 64)
        self.blocks, self.evaluation, self.limit = tuple(blocks), evaluation, limit
        self.settings = dict(backend=backend, mode=mode, fullgraph=fullgraph, dynamic=dynamic)

    def find(self, host: nn.Module) -> list[nn.Module]:
        """The blocks; they are compiled when they first run."""
        return [
            module
            for module in host.modules()
            if any(kind.__name__ in self.blocks for kind in type(module).__mro__)
        ]

    def change(self, module: nn.Module) -> None:
        """Change the class of a block."""
        allow_recompilations(self.limit)
        for part in module.modules():
            # mmpretrain takes drop rates from numpy, whose numbers end a graph.
            for name, value in vars(part).items():
                if isinstance(value, np.generic):
                    setattr(part, name, value.item())
        module._evaluates = self.evaluation
        module._compiled = _compiled_forward(type(module), tuple(sorted(self.settings.items())))
        super().change(module)
