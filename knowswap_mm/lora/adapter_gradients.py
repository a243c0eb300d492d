"""Which adapters the gradient of the task reaches."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor, nn

from knowswap_mm.lora.lora_groups import block_of, list_elements


class AdapterGradients:
    """Watches the gradients of adapters, without a wait, until it is asked what it saw (issue 24).

    The group-sparse term, too, gives each matrix a gradient: a multiple of the matrix. So what is
    no multiple of its matrix came from the task. That holds whatever the gradient is scaled with
    (weights, gradient accumulation, the loss scale of float16), and for B = 0 it is exact.

    Args:
        adapters (Mapping[str, nn.Parameter]): The matrices by full name.
    """

    def __init__(self, adapters: Mapping[str, nn.Parameter]) -> None:
        self._seen: dict[str, Tensor | None] = {_layer_of(name): None for name in adapters}
        self._bad: Tensor | None = None
        self._handles = [
            parameter.register_hook(partial(self._note, _layer_of(name), parameter))
            for name, parameter in adapters.items()
        ]

    @torch.no_grad()
    def _note(self, layer: str, matrix: nn.Parameter, gradient: Tensor) -> None:
        own, found = matrix.detach().flatten().float(), gradient.detach().flatten().float()
        along = (found @ own) / (own @ own).clamp_min(torch.finfo(torch.float32).tiny)
        rest, whole = (found - along * own).norm(), found.norm()
        bad = ~torch.isfinite(whole)
        reached = (rest > 16 * torch.finfo(gradient.dtype).eps * whole) & ~bad
        before = self._seen[layer]
        self._seen[layer] = reached if before is None else before | reached
        self._bad = bad if self._bad is None else self._bad | bad

    def called(self) -> list[str]:
        """Layers of which any gradient, be it zero, came here or in another process."""
        flags = torch.tensor([seen is not None for seen in self._seen.values()], dtype=torch.int32)
        flags = self._shared(flags).tolist()
        return [layer for layer, flag in zip(self._seen, flags, strict=True) if flag]

    def look(self) -> tuple[list[str], bool]:
        """Read what was seen; this waits for the device, and all processes must call it.

        Returns:
            tuple[list[str], bool]: Layers that the task did not reach in any process, and whether
            a gradient was not finite in one.
        """
        found = [seen for seen in (*self._seen.values(), self._bad) if seen is not None]
        blank = torch.zeros((), dtype=torch.bool, device=found[0].device if found else 'cpu')
        flags = [blank if seen is None else seen for seen in (*self._seen.values(), self._bad)]
        *reached, bad = self._shared(torch.stack(flags).int()).tolist()
        return [layer for layer, seen in zip(self._seen, reached, strict=True) if not seen], bool(
            bad
        )

    def _shared(self, flags: Tensor) -> Tensor:
        if get_world_size() > 1:
            device = next((s.device for s in self._seen.values() if s is not None), flags.device)
            flags = flags.to(device)
            all_reduce(flags, op='max')
        return flags

    def close(self) -> None:
        """Watch no more."""
        for handle in self._handles:
            handle.remove()
        self._handles = []


def by_chance(model: nn.Module, layers: list[str]) -> list[str]:
    """Those layers whose block is left out at times: stochastic depth may have hidden them.

    Args:
        model (nn.Module): A model with adapters, in training mode.
        layers (list[str]): Names of layers with adapters.
    """
    elements = list_elements(model)
    blocks = {layer: model.get_submodule(block_of(layer, elements)) for layer in layers}
    return [layer for layer, block in blocks.items() if any(map(_drops, block.modules()))]


def _drops(module: nn.Module) -> bool:
    name = type(module).__name__
    if not module.training or not re.search(
        'drop_?(path|layer)|layer_?drop|stochastic', name, re.I
    ):
        return False
    rates = [getattr(module, key, 0) for key in ('drop_prob', 'p', 'drop_rate', 'prob')]
    return any(isinstance(rate, (int, float)) and rate > 0 for rate in rates)


def patterns_of(missing: list[str], layers: list[str]) -> list[str]:
    """Regular expressions that match the names of some layers and of none of the others.

    Args:
        missing (list[str]): The layers.
        layers (list[str]): Those, and all others.
    """
    others = [layer for layer in layers if layer not in set(missing)]
    found: dict[str, None] = {}
    for layer in missing:
        parts = layer.split('.')
        starts = ('.'.join(parts[:length]) + '.' for length in range(1, len(parts)))
        start = next((s for s in starts if not any(o.startswith(s) for o in others)), None)
        pattern = f'^{re.escape(start)}' if start else f'^{re.escape(layer)}$'
        found[pattern] = None
    return list(found)


def _layer_of(name: str) -> str:
    return re.split(r'\.lora_[AB]\.', name)[0]
