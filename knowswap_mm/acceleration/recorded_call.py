"""A forward and a backward pass as CUDA graphs."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_WARM_UPS = 3


class RecordedCall:
    """What a function launches on a GPU for one input shape, recorded to be launched at once.

    Results and gradients are copied out of the recorded memory, so that they may be kept; what the
    backward pass needs stays in it. A call is :attr:`busy` from its forward to its backward pass
    and must not be called again in between.

    Args:
        function (Callable): Takes a tensor, returns a tuple of tensors; launches the same kernels
            whenever it is called and never waits for the device.
        x (Tensor): An input; all later ones have its shape and type.
        leaves (Sequence[Tensor]): What the function uses and gets gradients, see
            :func:`own_leaves`.
        parameters (Sequence[Tensor]): Whose memory they share, in the same order.
        pool (Any): Memory that several records share, of which one is used at a time.

    Raises:
        RuntimeError: If the function does something that cannot be recorded.
    """

    def __init__(
        self,
        function: Callable[[Tensor], tuple[Tensor, ...]],
        x: Tensor,
        leaves: Sequence[Tensor],
        parameters: Sequence[Tensor],
        pool: Any,
    ) -> None:
        self.parameters = list(parameters)
        self._x = x.detach().clone()
        self._owner: Callable[[], object | None] = lambda: None
        # Weights that autocast casts must be cast in each replay.
        kind = x.device.type
        cast = torch.autocast(
            kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind), False
        )
        with _undisturbed(x.device), cast:
            self._record(function, leaves, pool)

    def _record(
        self,
        function: Callable[[Tensor], tuple[Tensor, ...]],
        leaves: Sequence[Tensor],
        pool: Any,
    ) -> None:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                outputs = function(self._x)
                _gradients_of(outputs, [torch.zeros_like(output) for output in outputs], leaves)
        torch.cuda.current_stream().wait_stream(stream)
        del outputs
        # Other threads, such as the one that pins batches, may go on meanwhile.
        settings = dict(pool=pool, capture_error_mode='thread_local')
        self._forward, self._backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._forward, **settings):
            outputs = function(self._x)
        self._seeds = [torch.zeros_like(output) for output in outputs]
        with torch.cuda.graph(self._backward, **settings):
            gradients = _gradients_of(outputs, self._seeds, leaves)
            used = [gradient for gradient in gradients if gradient is not None]
            self._flat = torch.cat([gradient.flatten() for gradient in used])
        self._used = [gradient is not None for gradient in gradients]
        self._outputs = tuple(output.detach() for output in outputs)

    @property
    def busy(self) -> bool:
        """Whether a backward pass is still to come."""
        return self._owner() is not None

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        """Replay the forward pass.

        Args:
            x (Tensor): Input.

        Returns:
            tuple[Tensor, ...]: Outputs, with gradients for the parameters.
        """
        return _Replay.apply(self, x, *self.parameters)

    def forward(self, x: Tensor, owner: object) -> tuple[Tensor, ...]:
        """Replay the forward pass for an owner, with whose life the call ceases to be busy."""
        self._owner = weakref.ref(owner)
        self._x.copy_(x)
        self._forward.replay()
        return tuple(output.clone() for output in self._outputs)

    def backward(self, seeds: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Replay the backward pass; returns gradients of the parameters."""
        for kept, seed in zip(self._seeds, seeds, strict=True):
            kept.zero_() if seed is None else kept.copy_(seed)
        self._backward.replay()
        used = [p for p, used in zip(self.parameters, self._used, strict=True) if used]
        parts = iter(self._flat.clone().split([parameter.numel() for parameter in used]))
        return [
            next(parts).view_as(parameter).to(parameter.dtype) if used else None
            for parameter, used in zip(self.parameters, self._used, strict=True)
        ]


def _gradients_of(
    outputs: Sequence[Tensor], seeds: Sequence[Tensor], leaves: Sequence[Tensor]
) -> tuple[Tensor | None, ...]:
    pairs = [(o, s) for o, s in zip(outputs, seeds, strict=True) if o.requires_grad]
    trained, given = zip(*pairs, strict=True)
    return torch.autograd.grad(trained, leaves, given, allow_unused=True)


@contextmanager
def _undisturbed(device: torch.device) -> Iterator[None]:
    """Keeps random numbers as they were, and garbage alive: freeing it would spoil the record."""
    generator = torch.cuda.default_generators[device.index]
    before, collects = generator.get_state(), gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    except BaseException:
        # A record that failed leaves the generator waiting for its end.
        generator.graphsafe_set_state(generator.clone_state())
        raise
    finally:
        generator.set_state(before)
        if collects:
            gc.enable()


class _Owner:
    """Lives from a forward to its backward pass."""


class _Replay(torch.autograd.Function):
    """Puts a record into autograd's graph."""

    @staticmethod
    def forward(ctx: Any, call: RecordedCall, x: Tensor, *parameters: Tensor) -> Any:
        ctx.call, ctx.owner = call, _Owner()
        ctx.set_materialize_grads(False)
        return call.forward(x, ctx.owner)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *seeds: Tensor | None) -> tuple[Tensor | None, ...]:
        gradients = ctx.call.backward(seeds)
        ctx.owner = None
        return None, None, *gradients
