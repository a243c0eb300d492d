"""Adapters on disk: peft's safetensors format and a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from knowswap_mm.errors import CheckpointError
from knowswap_mm.lora.adapter_contents import (
    ADAPTER_FILE,
    MANIFEST_FILE,
    ROWS_FILE,
    START_FILE,
    AdapterContents,
    all_tensors,
)
from knowswap_mm.lora.adapter_manifest import AdapterManifest, hash_tensors
from knowswap_mm.lora.adapter_tensors import (
    adapter_config,
    adapter_matrices,
    old_part,
    on_cpu,
    tensor_problems,
    value_problems,
)
from knowswap_mm.lora.host_state_dict import is_adapter_key, plain_key
from knowswap_mm.lora.lora_injector import lora_layers


class AdapterFile:
    """A folder with one adapter: LoRA matrices, class-indexed tensors and a manifest.

    ``adapter_model.safetensors`` and ``adapter_config.json`` are what peft itself writes and reads;
    ``class_rows.safetensors`` holds the class-indexed tensors of the enlarged head,
    ``start_rows.safetensors`` those with which the swap began. Of a model with several adapters it
    is the newest, the one that trains.

    Args:
        folder (str | Path): The folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def save(
        self,
        swapper: nn.Module,
        class_roles: dict[str, Any] | None = None,
        history: list[dict[str, Any]] | None = None,
    ) -> None:
        """Write the newest adapter of a swapper.

        Args:
            swapper (nn.Module): A :class:`KnowledgeSwapper`.
            class_roles (dict | None): The classes of each role.
            history (list[dict] | None): What each phase did.
        """
        from knowswap_mm.engine.atomic_file import write_safetensors  # the engine imports this

        self.folder.mkdir(parents=True, exist_ok=True)
        matrices = on_cpu(adapter_matrices(swapper.host, swapper.adapter_name))
        rows, start_rows = on_cpu(class_rows(swapper)), on_cpu(swapper.start_rows.tensors())
        manifest = AdapterManifest(
            **_settings(swapper),
            class_rows={name: list(tensor.shape) for name, tensor in rows.items()},
            class_roles=class_roles or {},
            history=history or [],
        )
        manifest.adapter_sha256 = manifest.hash_of(all_tensors(matrices, rows, start_rows))
        write_safetensors(self.folder / ADAPTER_FILE, matrices)
        write_safetensors(self.folder / ROWS_FILE, rows)
        write_safetensors(self.folder / START_FILE, start_rows)
        adapter_config(swapper.host, swapper.adapter_name).save_pretrained(str(self.folder))
        manifest.write(self.folder / MANIFEST_FILE)

    def load(self, swapper: nn.Module) -> AdapterManifest:
        """Read an adapter into a swapper that already holds the base weights.

        Args:
            swapper (nn.Module): A :class:`KnowledgeSwapper` of the same config.

        Returns:
            AdapterManifest: What the file says about itself.

        Raises:
            CheckpointError: If the base weights, the adapters beneath it, targets, rank, scale, or
                any tensor differ. It lists all of that; nothing is changed then.
        """
        contents = AdapterContents(self.folder)
        if problems := self._problems(contents, swapper):
            raise CheckpointError(
                f'{self.folder} does not fit the model: {"; ".join(problems)}. Fix: load the base '
                'checkpoint that the adapter was made from, name the adapters beneath it in '
                'model.adapters, and use its LoRA settings.'
            )
        state = swapper.state_dict()
        for key in list(state):
            name, own = key.removeprefix('host.'), f'.{swapper.adapter_name}.weight'
            if key.startswith('start_rows.'):
                state[key] = contents.start_rows[key.removeprefix('start_rows.').replace('/', '.')]
            elif is_adapter_key(name) and name.endswith(own):
                state[key] = contents.matrices[name.removesuffix(own) + '.weight']
            elif plain_key(name) in contents.rows:
                state[key] = contents.rows[plain_key(name)]
        swapper.load_state_dict(state)
        return contents.manifest

    @staticmethod
    def _problems(contents: AdapterContents, swapper: nn.Module) -> list[str]:
        problems = [
            f'{key!r} is {_short(found)} instead of {_short(value)}'
            for key, value in _settings(swapper).items()
            if (found := getattr(contents.manifest, key)) != value
        ]
        start, classes = swapper.start_rows.tensors(), swapper.class_rows
        matrices = adapter_matrices(swapper.host, swapper.adapter_name)
        for file, found, wanted in (
            (ADAPTER_FILE, contents.matrices, matrices),
            (ROWS_FILE, contents.rows, class_rows(swapper)),
            (START_FILE, contents.start_rows, start),
        ):
            problems += [f'{file}: {problem}' for problem in tensor_problems(found, wanted)]
        old, total = classes.old, classes.total
        same = [n for n in start if n in contents.start_rows]
        same = [n for n in same if contents.start_rows[n].shape == start[n].shape]
        problems += value_problems(
            {name: old_part(contents.start_rows[name], old, total) for name in same},
            {name: old_part(start[name], old, total) for name in same},
            'has other rows in the model than those with which the swap of the adapter began',
        )
        return list(dict.fromkeys(problems + contents.problems()))


def class_rows(swapper: nn.Module) -> dict[str, Tensor]:
    """The class-indexed tensors of a swapper's host, as they are now."""
    state = swapper.host.state_dict()
    return {tensor.name: state[tensor.name] for tensor in swapper.class_rows.tensors}


def base_hash(swapper: nn.Module) -> str:
    """Hash of the weights that a swap leaves alone: no adapter, no class-indexed tensor."""
    names = [tensor.name for tensor in swapper.class_rows.tensors]
    return base_hash_of(swapper.host.state_dict(), names)


def base_hash_of(state: dict[str, Tensor], class_tensors: list[str]) -> str:
    """The same of the state dict of a host."""
    frozen = {plain_key(k): v for k, v in state.items() if not is_adapter_key(k)}
    return hash_tensors({k: v for k, v in frozen.items() if k not in class_tensors})


def _settings(swapper: nn.Module) -> dict[str, Any]:
    """The fields of the manifest that a model must share with an adapter."""
    config = adapter_config(swapper.host, swapper.adapter_name)
    layers = lora_layers(swapper.host)
    return dict(
        base_sha256=base_hash(swapper),
        parents=swapper.stack.hashes,
        targets=[name for name, layer in layers if swapper.adapter_name in layer.lora_A],
        rank=config.r,
        alpha=config.lora_alpha,
        old_classes=swapper.class_rows.old,
        total_classes=swapper.class_rows.total,
    )


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 120 else f'{shown[:117]}...'
