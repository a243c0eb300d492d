"""Adapters on disk: peft's safetensors format and a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft.functional import get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from knowswap_mm.errors import CheckpointError
from knowswap_mm.lora.adapter_manifest import AdapterManifest, hash_tensors
from knowswap_mm.lora.host_state_dict import is_adapter_key, plain_key
from knowswap_mm.lora.lora_injector import lora_layers

ADAPTER_FILE = 'adapter_model.safetensors'
CONFIG_FILE = 'adapter_config.json'
ROWS_FILE = 'class_rows.safetensors'
MANIFEST_FILE = 'manifest.json'


class AdapterFile:
    """A folder with one adapter: LoRA matrices, class-indexed tensors and a manifest.

    ``adapter_model.safetensors`` and ``adapter_config.json`` are what peft itself writes and reads;
    ``class_rows.safetensors`` holds the class-indexed tensors of the enlarged head.

    Args:
        folder (str | Path): The folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def save(self, swapper: nn.Module, class_roles: dict[str, Any] | None = None) -> None:
        """Write the adapter of a swapper.

        Args:
            swapper (nn.Module): A :class:`KnowledgeSwapper`.
            class_roles (dict | None): The classes of each role.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        host = swapper.host
        adapter, config = _only_adapter(host)[2:]
        save_file(_on_cpu(_matrices(host)), self.folder / ADAPTER_FILE)
        config.save_pretrained(str(self.folder))
        rows = _on_cpu(self._class_rows(swapper))
        save_file(rows, self.folder / ROWS_FILE)
        AdapterManifest(
            base_sha256=base_hash(swapper),
            targets=[name for name, _ in lora_layers(host)],
            rank=config.r,
            alpha=config.lora_alpha,
            class_rows={name: list(tensor.shape) for name, tensor in rows.items()},
            class_roles=class_roles or {},
            old_classes=swapper.class_rows.old,
        ).write(self.folder / MANIFEST_FILE)

    def load(self, swapper: nn.Module) -> AdapterManifest:
        """Read an adapter into a swapper that already holds the base weights.

        Args:
            swapper (nn.Module): A :class:`KnowledgeSwapper` of the same config.

        Returns:
            AdapterManifest: What the file says about itself.

        Raises:
            CheckpointError: If the base weights, targets, rank, scale, or any tensor differ;
                nothing is changed then.
        """
        manifest = AdapterManifest.read(self.folder / MANIFEST_FILE)
        host = swapper.host
        adapter, config = _only_adapter(host)[2:]
        expected: dict[str, Any] = dict(
            base_sha256=base_hash(swapper),
            targets=[name for name, _ in lora_layers(host)],
            rank=config.r,
            alpha=config.lora_alpha,
            old_classes=swapper.class_rows.old,
        )
        different = [key for key, value in expected.items() if getattr(manifest, key) != value]
        if different:
            found = {key: getattr(manifest, key) for key in different if key != 'targets'}
            raise CheckpointError(
                f'{self.folder} does not fit the model: {different} differ ({found}). Fix: load '
                'the base checkpoint that the adapter was made from, and use its LoRA settings.'
            )
        matrices = self._read(ADAPTER_FILE)
        rows = self._read(ROWS_FILE)
        self._check(matrices, _matrices(host), ADAPTER_FILE)
        self._check(rows, self._class_rows(swapper), ROWS_FILE)
        state = swapper.state_dict()
        for key in list(state):
            name = key.removeprefix('host.')
            if is_adapter_key(name):
                state[key] = matrices[name.replace(f'.{adapter}.weight', '.weight')]
            elif plain_key(name) in rows:
                state[key] = rows[plain_key(name)]
        swapper.load_state_dict(state)
        return manifest

    @staticmethod
    def _class_rows(swapper: nn.Module) -> dict[str, Tensor]:
        state = swapper.host.state_dict()
        return {tensor.name: state[tensor.name] for tensor in swapper.class_rows.tensors}

    def _read(self, name: str) -> dict[str, Tensor]:
        path = self.folder / name
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f'{path} is no readable safetensors file: {error}.') from error

    def _check(self, found: dict[str, Tensor], wanted: dict[str, Tensor], name: str) -> None:
        problems = [f'missing {key}' for key in wanted if key not in found]
        problems += [f'unexpected {key}' for key in found if key not in wanted]
        for key in set(found) & set(wanted):
            if found[key].shape != wanted[key].shape:
                shapes = f'{tuple(found[key].shape)} instead of {tuple(wanted[key].shape)}'
                problems.append(f'{key} has shape {shapes}')
            elif found[key].dtype != wanted[key].dtype:
                types = f'{found[key].dtype} instead of {wanted[key].dtype}'
                problems.append(f'{key} has type {types}')
            elif not torch.isfinite(found[key]).all():
                problems.append(f'{key} is not finite')
        if problems:
            raise CheckpointError(f'{self.folder / name}: ' + '; '.join(sorted(problems)))


def base_hash(swapper: nn.Module) -> str:
    """Hash of the weights that a swap leaves alone: no adapter, no class-indexed tensor."""
    class_tensors = {tensor.name for tensor in swapper.class_rows.tensors}
    state = swapper.host.state_dict()
    frozen = {plain_key(k): v for k, v in state.items() if not is_adapter_key(k)}
    return hash_tensors({k: v for k, v in frozen.items() if k not in class_tensors})


def _only_adapter(host: nn.Module) -> tuple[str, nn.Module, str, Any]:
    """Where peft injected the adapter and keeps its config; the adapter's name; the config."""
    for path, module in host.named_modules():
        configs = getattr(module, 'peft_config', None)
        if configs:
            name, config = next(iter(configs.items()))
            return path, module, name, config
    raise CheckpointError('The model has no adapter. Fix: set model.lora.')


def _matrices(host: nn.Module) -> dict[str, Tensor]:
    path, module, adapter, _ = _only_adapter(host)
    found = get_peft_model_state_dict(module, adapter_name=adapter)
    return {f'{path}.{key}' if path else key: matrix for key, matrix in found.items()}


def _on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
