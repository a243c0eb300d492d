"""The outputs of the adapted blocks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class BlockRecorder:
    """Context manager that keeps the first output of each block, averaged over its positions.

    Args:
        host (nn.Module): The model.
        names (Iterable[str]): Names of the blocks.
    """

    def __init__(self, host: nn.Module, names: Iterable[str]) -> None:
        self.host, self.names = host, list(names)
        self._found: dict[str, np.ndarray] = {}
        self._handles: list[Any] = []

    def __enter__(self) -> BlockRecorder:
        for name in self.names:
            hook = self._hook(name)
            self._handles.append(self.host.get_submodule(name).register_forward_hook(hook))
        return self

    def __exit__(self, *_: Any) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def take(self, samples: int) -> dict[str, np.ndarray]:
        """Outputs since the last call, of blocks that gave one row a sample.

        Args:
            samples (int): Samples of the batch.

        Returns:
            dict[str, np.ndarray]: ``(samples, channels)`` by block.
        """
        found, self._found = self._found, {}
        return {name: rows for name, rows in found.items() if len(rows) == samples}

    def _hook(self, name: str) -> Any:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            if name not in self._found:
                self._found[name] = _pooled(output)

        return keep


@torch.no_grad()
def _pooled(output: Any) -> np.ndarray:
    while not isinstance(output, Tensor):
        output = output[0]
    output = output.detach().float()
    if output.dim() == 4:  # a map of features
        output = output.mean(dim=(2, 3))
    elif output.dim() == 3:  # tokens
        output = output.mean(dim=1)
    return output.cpu().numpy()
