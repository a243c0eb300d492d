"""A module whose training passes are CUDA graphs."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Hashable
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from knowswap_mm.acceleration.own_leaves import own_leaves
from knowswap_mm.acceleration.recorded_call import RecordedCall


class GraphedModule(nn.Module):
    """Mixin of backbones: what is called again and again in training is a :class:`RecordedCall`.

    A record holds for one shape of the input, one set of trained parameters, and one state of
    everything else that a forward pass depends on. All others run as before: evaluation, new
    shapes, passes between a recorded forward and its backward pass, modules with hooks inside.
    """

    _graphs: dict[Hashable, RecordedCall] | None = None
    _limit = 0
    _after = 0

    @classmethod
    def prepare(cls, module: nn.Module, limit: int, after: int) -> None:
        """Give a module of this class its empty store.

        Args:
            module (nn.Module): The module.
            limit (int): How many records it may have.
            after (int): Equal calls before one is recorded.
        """
        module._graphs, module._seen, module._pool = {}, Counter(), None
        module._limit, module._after = limit, after

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Compute what the module computes.

        Args:
            x (Tensor): Pictures.
            *args: As for the module; with any, nothing is recorded.
            **kwargs: Likewise.
        """
        call = None
        if not args and not kwargs and self._graphs is not None and self._may_record(x):
            call = self._record_of(x)
        return super().forward(x, *args, **kwargs) if call is None else call(x)

    def _may_record(self, x: Tensor) -> bool:
        return (
            self.training
            and isinstance(x, Tensor)
            and x.is_cuda
            and torch.is_grad_enabled()
            and not x.requires_grad
            and not torch.cuda.is_current_stream_capturing()
        )

    def _record_of(self, x: Tensor) -> RecordedCall | None:
        """The record for an input, made if it is time for it; None if there is none to be used."""
        key = call_key(self, x)
        if key is None:
            return None
        if (call := self._graphs.get(key)) is not None:
            return None if call.busy else call
        self._seen[key] += 1
        parameters = [p for p in self.parameters() if p.requires_grad]
        early = self._seen[key] <= self._after
        if early or not parameters or len(self._graphs) >= self._limit:
            return None
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        try:
            with own_leaves(self) as leaves:
                call = RecordedCall(super().forward, x, leaves, parameters, self._pool)
        except (RuntimeError, TypeError, ValueError) as error:
            kind, reason = type(self).__bases__[1].__name__, str(error).strip().splitlines()
            warnings.warn(
                f'A {kind} cannot be recorded as a CUDA graph and runs without '
                f'({reason[0] if reason else type(error).__name__}). Fix: leave GraphedBackbone '
                'out of model.accelerations.',
                stacklevel=2,
            )
            self._graphs = None
            return None
        self._graphs[key] = call
        return call

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        for name in ('_graphs', '_seen', '_pool'):
            state.pop(name, None)
        return state


def call_key(module: nn.Module, x: Tensor) -> Hashable | None:
    """Everything that decides which kernels a forward pass launches, and on which memory.

    Args:
        module (nn.Module): The module.
        x (Tensor): Its input.

    Returns:
        Hashable | None: None if a hook inside would miss the passes that are replayed.
    """
    state: list[Hashable] = [x.shape, x.dtype, x.device, x.stride()]
    kind = x.device.type
    state.append(torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None)
    for part in module.modules():
        if part is not module and (
            part._forward_hooks or part._forward_pre_hooks or part._backward_hooks
        ):
            return None
        state.append(part.training)
        if isinstance(part, BaseTunerLayer):
            state += [tuple(part.active_adapters), part.merged, part.disable_adapters]
            state.append(tuple(getattr(part, 'scaling', {}).items()))
        elif isinstance(part, nn.Dropout):
            state.append(part.p)
        for tensor in (*part._parameters.values(), *part._buffers.values()):
            if tensor is not None:
                frozen = not tensor.requires_grad
                state.append((tensor.data_ptr(), tensor._version if frozen else None))
    return tuple(state)
