"""What is in the folder of an adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from knowswap_mm.errors import CheckpointError, FileError
from knowswap_mm.json_file import read_json
from knowswap_mm.lora.adapter_manifest import AdapterManifest
from knowswap_mm.lora.row_layout import RowLayout

ADAPTER_FILE = 'adapter_model.safetensors'
CONFIG_FILE = 'adapter_config.json'
ROWS_FILE = 'class_rows.safetensors'
START_FILE = 'start_rows.safetensors'
MANIFEST_FILE = 'manifest.json'


class AdapterContents:
    """The files of an adapter's folder, read as data; no model is needed.

    Args:
        folder (str | Path): The folder.

    Attributes:
        manifest (AdapterManifest): What it says about itself.
        settings (dict): peft's settings of the adapter.
        matrices (dict[str, Tensor]): The LoRA matrices.
        rows (dict[str, Tensor]): The class-indexed tensors at the end of the swap.
        start_rows (dict[str, Tensor]): Those with which the swap began.

    Raises:
        CheckpointError: If a file is missing or cannot be read.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.manifest = AdapterManifest.read(self.folder / MANIFEST_FILE)
        self.settings = self._read_settings()
        self.matrices = self._read(ADAPTER_FILE)
        self.rows = self._read(ROWS_FILE)
        self.start_rows = self._read(START_FILE)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors of the folder, under keys that name their file."""
        return all_tensors(self.matrices, self.rows, self.start_rows)

    def problems(self) -> list[str]:
        """In what the files contradict each other; empty if they do not."""
        manifest = self.manifest
        problems = self._shape_problems()
        if problems:
            return problems
        for ours, theirs in (('rank', 'r'), ('alpha', 'lora_alpha')):
            value, found = getattr(manifest, ours), self.settings.get(theirs)
            if value != found:
                problems.append(f'{CONFIG_FILE} has {theirs} = {found!r}, the manifest {value!r}')
        for key, tensor in self.tensors().items():
            if not torch.isfinite(tensor).all():
                problems.append(f'{key} is not finite')
        if not problems and manifest.hash_of(self.tensors()) != manifest.adapter_sha256:
            problems.append("the contents are not those that 'adapter_sha256' was made of")
        return problems

    def _shape_problems(self) -> list[str]:
        """Where tensors have other shapes than the manifest says: nothing is built from those."""
        manifest, problems = self.manifest, []
        for key, matrix in self.matrices.items():
            side = 0 if '.lora_A.' in key else 1
            if matrix.ndim < 2 or matrix.shape[side] != manifest.rank:
                shape = tuple(matrix.shape)
                problems.append(
                    f'{key} has shape {shape}, but the manifest has rank {manifest.rank}'
                )
        for key, tensor in self.tensors().items():
            if not tensor.is_floating_point() or tensor.element_size() < 2 or not tensor.ndim:
                shape = tuple(tensor.shape)
                problems.append(f'{key} has type {tensor.dtype} and shape {shape}: no weights')
        for name, rows in self.rows.items():
            if list(rows.shape) != manifest.class_rows.get(name):
                said = manifest.class_rows.get(name)
                problems.append(f'{name} has shape {list(rows.shape)} instead of {said}')
        for name, layout in manifest.class_layouts.items():
            for tensors in (self.rows, self.start_rows):
                shape = tensors[name].shape if name in tensors else None
                classes = None if shape is None else RowLayout(*layout).classes(shape)
                if shape is not None and classes != manifest.total_classes:
                    problems.append(
                        f"{name} of shape {list(shape)} has {classes} classes by 'class_layouts', "
                        f'{manifest.total_classes} by the manifest'
                    )
        return problems

    def old_start_rows(self) -> dict[str, Tensor]:
        """The class-indexed tensors of the start without the rows that the swap added."""
        old = self.manifest.old_classes or 0
        return {
            name: self.manifest.layout_of(name, rows).old_part(rows, old)
            for name, rows in self.start_rows.items()
        }

    def _read_settings(self) -> dict[str, Any]:
        path = self.folder / CONFIG_FILE
        try:
            settings = read_json(path)
        except FileError as error:
            raise CheckpointError(f'The settings of the adapter cannot be read: {error}') from error
        if not isinstance(settings, dict):
            raise CheckpointError(f'{path} holds a {type(settings).__name__}, no settings.')
        return settings

    def _read(self, name: str) -> dict[str, Tensor]:
        path = self.folder / name
        try:
            return load_file(path)
        except Exception as error:  # a damaged file may raise anything
            reason = f'{type(error).__name__}: {error}'.splitlines()[0][:300]
            raise CheckpointError(f'{path} is no readable safetensors file: {reason}.') from error


def all_tensors(
    matrices: dict[str, Tensor], rows: dict[str, Tensor], start_rows: dict[str, Tensor]
) -> dict[str, Tensor]:
    """The tensors of an adapter under keys that name their file."""
    parts = {ADAPTER_FILE: matrices, ROWS_FILE: rows, START_FILE: start_rows}
    return {f'{file}: {key}': each for file, part in parts.items() for key, each in part.items()}
