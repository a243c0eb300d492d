"""Names and tensors of a model with adapters: which are whose, and what differs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import torch
from peft.functional import get_peft_model_state_dict
from torch import Tensor, nn

from knowswap_mm.errors import CheckpointError
from knowswap_mm.lora.injector import lora_layers


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
    """Everything in which tensors of a file do not fit those of the model.

    These are missing, unexpected, re-shaped, re-typed and, if asked for, not ``finite`` ones.
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
    """A line for each pair of tensors of the same name and shape whose bits differ: what is so."""
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


_ADAPTER_KEY = re.compile(r'\.lora_(A|B|embedding_A|embedding_B)\.')


class HostStateDict:
    """Translates the keys of a plain host checkpoint into those of the adapted model.

    Args:
        model (nn.Module): The adapted model.
        prefix (str): Where the host sits inside it, e.g. ``host.``; empty for the model itself.
    """

    def __init__(self, model: nn.Module, prefix: str = '') -> None:
        self.model = model
        self.prefix = prefix

    def translate(self, state_dict: MutableMapping[str, Tensor], outer: str = '') -> None:
        """Rewrite the keys of a plain host checkpoint in place.

        Adds the host's prefix unless the keys have it, renames ``X.weight`` to
        ``X.base_layer.weight`` where X carries an adapter, and, if the checkpoint holds no adapter
        at all, fills in the adapters' tensors with their present values, so that a strict load
        accepts exactly the host's keys. A checkpoint with adapters keeps its keys. What the model
        holds beside the host keeps its values under a plain checkpoint, too.

        Args:
            state_dict (MutableMapping[str, Tensor]): The weights to be loaded.
            outer (str): Prefix of the model itself, as state-dict hooks receive it.
        """
        keys = [key for key in state_dict if key.startswith(outer)]
        adapted = {self.prefix + name for name, _ in lora_layers(self._host())}
        # A swapper around a model with adapters may have filled those in already, hence the `not`.
        inside = [key for key in keys if key.startswith(outer + self.prefix)]
        whole = bool(self.prefix) and any(not is_adapter_key(key) for key in inside)
        for key in keys:
            inner = key[len(outer) :]
            if not whole and not inner.startswith(self.prefix):
                inner = self.prefix + inner
            module, _, leaf = inner.rpartition('.')
            if module in adapted:
                inner = f'{module}.base_layer.{leaf}'
            if outer + inner != key:
                state_dict[outer + inner] = state_dict.pop(key)
        without_adapters = not any(is_adapter_key(key) for key in keys)
        for name, tensor in self.model.state_dict().items():
            beside = not whole and not name.startswith(self.prefix)
            if beside or (without_adapters and is_adapter_key(name)):
                state_dict[outer + name] = tensor

    def _host(self) -> nn.Module:
        return self.model.get_submodule(self.prefix.rstrip('.')) if self.prefix else self.model


def is_adapter_key(key: str) -> bool:
    """Whether a state-dict key names a LoRA matrix."""
    return bool(_ADAPTER_KEY.search(key))


def plain_key(key: str) -> str:
    """Key of the same tensor in a model without adapters."""
    return key.replace('.base_layer.', '.')
