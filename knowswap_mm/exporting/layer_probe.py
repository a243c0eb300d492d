"""What the layers that a swap changes make of their inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from knowswap_mm.exporting.plain_config import plain_key_prefixes, plain_name
from knowswap_mm.lora.lora_injector import lora_layers

ROWS = 64


class LayerProbe:
    """Keeps some real inputs of every layer with adapters or class rows, and what came out.

    A merged layer can then be compared on the very same inputs: a deviation is its own and not
    that of the layers before it. Of a linear layer some of the tokens of its first call are kept,
    of any other the first picture.

    Args:
        class_tensors (Iterable[str]): Names of the tensors with class rows.

    Attributes:
        seen (dict[str, tuple[Tensor, Tensor]]): Input and output by name in the plain host.
    """

    def __init__(self, class_tensors: Iterable[str] = ()) -> None:
        self._owners = {name.rpartition('.')[0] for name in class_tensors}
        self.seen: dict[str, tuple[Tensor, Tensor]] = {}

    @contextmanager
    def watch(self, host: nn.Module) -> Iterator[None]:
        """Look on while the host, with its adapters, runs inside the block."""
        prefixes = plain_key_prefixes(host)
        layers = dict(lora_layers(host)) | {n: host.get_submodule(n) for n in self._owners}
        handles = [
            layer.register_forward_hook(self._keep(plain_name(name, prefixes)))
            for name, layer in layers.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _keep(self, name: str) -> Any:
        def keep(layer: nn.Module, inputs: tuple, output: Any) -> None:
            tensors = len(inputs) == 1 and all(isinstance(t, Tensor) for t in (*inputs, output))
            if name not in self.seen and tensors:  # else it is a whole head that holds a tensor
                self.seen[name] = _part(layer, inputs[0]), _part(layer, output)

        return keep

    @torch.no_grad()
    def outputs(self, plain: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
        """What came out, and what comes out of the layers of the plain host."""
        for name, (given, output) in self.seen.items():
            yield output, plain.get_submodule(name)(given)


def _part(layer: nn.Module, tensor: Tensor) -> Tensor:
    base = layer.get_base_layer() if hasattr(layer, 'get_base_layer') else layer
    part = tensor.flatten(0, -2)[:ROWS] if isinstance(base, nn.Linear) else tensor[:1]
    return part.detach().clone()
