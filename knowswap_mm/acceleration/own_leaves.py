"""Parameters that autograd has not seen yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def own_leaves(module: nn.Module) -> Iterator[list[nn.Parameter]]:
    """Give a module, for a while, twins of its trained parameters, in the same memory.

    Autograd keeps a node for each parameter, and with it the stream on which the parameter was
    first used. Distributed training holds on to these nodes, and a gradient that is computed for
    one of them waits for its stream, which a CUDA graph must not. A twin has a node of its own.

    Args:
        module (nn.Module): The module.

    Yields:
        list[nn.Parameter]: The twins, in the order of ``module.parameters()``.
    """
    twins: dict[nn.Parameter, nn.Parameter] = {}
    places = []
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None and parameter.requires_grad:
                twins.setdefault(parameter, nn.Parameter(parameter.detach()))
                places.append((part, name, parameter))
    try:
        for part, name, parameter in places:
            part._parameters[name] = twins[parameter]
        yield list(twins.values())
    finally:
        for part, name, parameter in places:
            part._parameters[name] = parameter
