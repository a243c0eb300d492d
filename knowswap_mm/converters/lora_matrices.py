"""LoRA matrices beside the weights of a linear, as loralib stores them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from knowswap_mm.errors import CheckpointError

Matrices = dict[str, tuple[Tensor, Tensor]]


def split_lora(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Matrices]:
    """Take ``<linear>.lora_A`` and ``<linear>.lora_B`` out of converted weights.

    Args:
        state (Mapping[str, Tensor]): Weights under a host's keys.

    Returns:
        tuple: The other weights, and ``(A, B)`` of shapes ``(r, in)`` and ``(out, r)`` by linear.

    Raises:
        CheckpointError: If one of a pair is missing, or they do not fit together.
    """
    base = {key: value for key, value in state.items() if '.lora_' not in key}
    linears = sorted({key.rsplit('.lora_', 1)[0] for key in state if '.lora_' in key})
    matrices: Matrices = {}
    for name in linears:
        a, b = state.get(f'{name}.lora_A'), state.get(f'{name}.lora_B')
        weight = base.get(f'{name}.weight')
        if a is None or b is None or weight is None:
            raise CheckpointError(f'{name} has not all of weight, lora_A and lora_B.')
        if b.shape[1] != a.shape[0] or weight.shape != (b.shape[0], a.shape[1]):
            shapes = [tuple(tensor.shape) for tensor in (weight, a, b)]
            raise CheckpointError(f'{name}: weight, lora_A and lora_B do not fit: {shapes}.')
        matrices[name] = (a, b)
    return base, matrices


def merge_lora(base: Mapping[str, Tensor], matrices: Matrices, alpha: float) -> dict[str, Tensor]:
    """Add ``alpha / r * B A`` to the weights.

    Args:
        base (Mapping[str, Tensor]): Weights under a host's keys.
        matrices (dict): What :func:`split_lora` gave.
        alpha (float): Numerator of the scale, which such files do not tell.
    """
    merged = dict(base)
    for name, (a, b) in matrices.items():
        key = f'{name}.weight'
        change = (alpha / a.shape[0]) * (b.double() @ a.double())
        merged[key] = (base[key].double() + change).to(base[key].dtype)
    return merged


@torch.no_grad()
def fill_adapters(swapper: nn.Module, matrices: Matrices) -> None:
    """Write LoRA matrices into the adapters of a swapper.

    Args:
        swapper (nn.Module): A :class:`KnowledgeSwapper`.
        matrices (dict): What :func:`split_lora` gave.

    Raises:
        CheckpointError: If the swapper has other adapters.
    """
    wanted = {}
    for name, parameter in swapper.adapters.items():
        linear, which = name.split('.lora_')
        wanted.setdefault(linear, {})[which[0]] = parameter
    different = sorted(set(wanted) ^ set(matrices))
    if different:
        raise CheckpointError(
            f'The file and the config have different adapters: {different[:4]}. Fix: set '
            'model.lora.targets to the linears of the file.'
        )
    for name, (a, b) in matrices.items():
        for which, tensor in (('A', a), ('B', b)):
            parameter = wanted[name][which]
            if parameter.shape != tensor.shape:
                shapes = f'{tuple(tensor.shape)} instead of {tuple(parameter.shape)}'
                raise CheckpointError(f'{name}.lora_{which} has shape {shapes}: another rank.')
            parameter.copy_(tensor)
