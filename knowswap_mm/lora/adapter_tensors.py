"""The tensors of one adapter in a model, and how two sets of tensors differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from peft.functional import get_peft_model_state_dict
from torch import Tensor, nn

from knowswap_mm.errors import CheckpointError


def adapter_names(model: nn.Module) -> list[str]:
    """Names of all adapters in a model, in the order of their injection."""
    return [name for _, _, configs in _homes(model) for name in configs]


def adapter_home(model: nn.Module, adapter: str) -> str:
    """Name of the module into which an adapter was injected; empty for the model itself.

    Raises:
        CheckpointError: If the model has no such adapter.
    """
    return _home(model, adapter)[0]


def adapter_config(model: nn.Module, adapter: str) -> Any:
    """The settings of an adapter in peft's words.

    Raises:
        CheckpointError: If the model has no such adapter.
    """
    return _home(model, adapter)[2]


def adapter_matrices(model: nn.Module, adapter: str) -> dict[str, Tensor]:
    """The matrices of one adapter, under names that do not hold the adapter's.

    Raises:
        CheckpointError: If the model has no such adapter.
    """
    path, module, _ = _home(model, adapter)
    found = get_peft_model_state_dict(module, adapter_name=adapter)
    return {f'{path}.{key}' if path else key: matrix for key, matrix in found.items()}


def tensor_problems(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], finite: bool = True
) -> list[str]:
    """Everything in which tensors do not fit those of the model.

    Args:
        found (Mapping[str, Tensor]): Tensors of a file.
        wanted (Mapping[str, Tensor]): Tensors of the same names, types and shapes as needed.
        finite (bool): Whether values that are not finite are a problem.

    Returns:
        list[str]: Missing, unexpected, re-shaped, re-typed and not finite ones; empty if all fit.
    """
    problems = [f'missing {key}' for key in wanted if key not in found]
    problems += [f'unexpected {key}' for key in found if key not in wanted]
    for key in set(found) & set(wanted):
        if found[key].shape != wanted[key].shape:
            shapes = f'{tuple(found[key].shape)} instead of {tuple(wanted[key].shape)}'
            problems.append(f'{key} has shape {shapes}')
        elif found[key].dtype != wanted[key].dtype:
            types = f'{found[key].dtype} instead of {wanted[key].dtype}'
            problems.append(f'{key} has type {types}')
        elif finite and not torch.isfinite(found[key]).all():
            problems.append(f'{key} is not finite')
    return sorted(problems)


def value_problems(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], what: str
) -> list[str]:
    """Names of tensors of the same shape whose bits differ.

    Args:
        found (Mapping[str, Tensor]): Tensors.
        wanted (Mapping[str, Tensor]): Tensors; those without a counterpart are passed over.
        what (str): What is said of a tensor that differs.

    Returns:
        list[str]: A line for each difference.
    """
    return [
        f'{key} {what}'
        for key in sorted(set(found) & set(wanted))
        if found[key].shape == wanted[key].shape
        and not torch.equal(found[key].cpu(), wanted[key].cpu())
    ]


def on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies for a file."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _homes(model: nn.Module) -> Iterator[tuple[str, nn.Module, dict[str, Any]]]:
    """Where peft keeps the settings of the adapters that it injected."""
    for path, module in model.named_modules():
        if configs := getattr(module, 'peft_config', None):
            yield path, module, configs


def _home(model: nn.Module, adapter: str) -> tuple[str, nn.Module, Any]:
    for path, module, configs in _homes(model):
        if adapter in configs:
            return path, module, configs[adapter]
    raise CheckpointError(f'The model has no adapter {adapter!r}. Fix: set model.lora.')
