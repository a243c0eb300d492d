"""Backbones that are launched at once."""

from __future__ import annotations

import gc
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from knowswap_mm.acceleration.acceleration import Acceleration
from knowswap_mm.checks import check_whole
from knowswap_mm.compat import has_hooks, own_parameters, own_tensors, version_of
from knowswap_mm.registry import ACCELERATIONS


@contextmanager
def own_leaves(module: nn.Module) -> Iterator[list[nn.Parameter]]:
    """Give a module, for a while, twins of its trained parameters, in the same memory.

    Autograd keeps a node for each parameter, and with it the stream on which the parameter was
    first used. Distributed training holds on to these nodes, and a gradient that is computed for
    one of them waits for its stream, which a CUDA graph must not. A twin has a node of its own.
    The twins come in the order of ``module.parameters()``.
    """
    twins: dict[nn.Parameter, nn.Parameter] = {}
    places = []
    for part in module.modules():
        for name, parameter in own_parameters(part).items():
            if parameter is not None and parameter.requires_grad:
                twins.setdefault(parameter, nn.Parameter(parameter.detach()))
                places.append((part, name, parameter))
    try:
        for part, name, parameter in places:
            own_parameters(part)[name] = twins[parameter]
        yield list(twins.values())
    finally:
        for part, name, parameter in places:
            own_parameters(part)[name] = parameter


_WARM_UPS = 3


class RecordedCall:
    """What a function launches on a GPU for one input shape, recorded to be launched at once.

    Results and gradients are copied out of the recorded memory, so that they may be kept; what the
    backward pass needs stays in it. A call is :attr:`busy` from its forward to its backward pass
    and must not be called again in between.

    Args:
        function (Callable): Takes a tensor, returns a tuple of tensors; launches the same kernels
            whenever it is called and never waits for the device.
        x (Tensor): An input, ``(N, ...)``; all later ones have its shape and type.
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
        """Replay the forward pass; the outputs have gradients for the parameters."""
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


class GraphedModule(nn.Module):
    """Mixin of backbones: what is called again and again in training is a :class:`RecordedCall`.

    A record holds for one shape of the input, one set of trained parameters, and one state of
    everything else that a forward pass depends on. All others run as before: evaluation, new
    shapes, passes between a recorded forward and its backward pass, modules with hooks inside.
    """

    _graphs: dict[Hashable, RecordedCall] | None = None
    _limit = 0
    _after = 0

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Compute what the module computes of images ``(N, C, H, W)``.

        With any further argument, nothing is recorded.
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

    It is None if a hook inside would miss the passes that are replayed. The input is
    ``(N, C, H, W)``.
    """
    state: list[Hashable] = [x.shape, x.dtype, x.device, x.stride()]
    kind = x.device.type
    state.append(torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None)
    for part in module.modules():
        if part is not module and has_hooks(part):
            return None
        state.append(part.training)
        if isinstance(part, BaseTunerLayer):
            state += [tuple(part.active_adapters), part.merged, part.disable_adapters]
            state.append(tuple(getattr(part, 'scaling', {}).items()))
        elif isinstance(part, nn.Dropout):
            state.append(part.p)
        for tensor in own_tensors(part):
            frozen = not tensor.requires_grad
            state.append((tensor.data_ptr(), version_of(tensor) if frozen else None))
    return tuple(state)


@ACCELERATIONS.register_module()
class GraphedBackbone(Acceleration):
    """Makes the backbone a :class:`GraphedModule`: its training passes are CUDA graphs.

    For backbones whose kernels end before the CPU has launched the next ones: a ViT-B/16 in bf16
    on a fast GPU. It needs images of one size. Numbers are those without it, random ones
    included. Name it last; on a CPU it does nothing.

    Args:
        limit (int): Shapes and phases that are recorded at most; each keeps the memory of its
            activations, which the others use in turn.
        after (int): Equal steps before one is recorded.

    Raises:
        ConfigError: If a value is no integer >= 1.
    """

    mixin = GraphedModule

    def __init__(self, limit: int = 8, after: int = 3) -> None:
        for name, value in (('limit', limit), ('after', after)):
            check_whole(f'model.accelerations.GraphedBackbone.{name}', value, 1, 4)
        self.limit, self.after = limit, after

    def find(self, host: nn.Module) -> list[nn.Module]:
        """The module of the name ``backbone``; it is recorded when it has run a few times."""
        backbone = getattr(host, 'backbone', None)
        found = isinstance(backbone, nn.Module) and not isinstance(backbone, GraphedModule)
        return [backbone] if found else []

    def change(self, module: nn.Module) -> None:
        """Change the class of the backbone."""
        module._graphs, module._seen, module._pool = {}, Counter(), None
        module._limit, module._after = self.limit, self.after
        super().change(module)
