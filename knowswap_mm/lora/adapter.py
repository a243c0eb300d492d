"""The folder of an adapter: its files, written, read and described."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from knowswap_mm.errors import CheckpointError, FileError, reason_of
from knowswap_mm.io.files import write_atomic, write_folder, write_safetensors
from knowswap_mm.io.text_files import read_json
from knowswap_mm.lora.injector import lora_layers
from knowswap_mm.lora.manifest import AdapterManifest, hash_tensors
from knowswap_mm.lora.row_layout import RowLayout
from knowswap_mm.lora.tensors import (
    adapter_config,
    adapter_matrices,
    is_adapter_key,
    on_cpu,
    plain_key,
    tensor_problems,
    value_problems,
)
from knowswap_mm.visualization.tables import markdown_table

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
        matrices (dict[str, Tensor]): The LoRA matrices: A ``(rank, in)`` and B ``(out, rank)``.
        rows (dict[str, Tensor]): The class-indexed tensors at the end of the swap.
        start_rows (dict[str, Tensor]): Those with which the swap began.
        parts (dict[str, dict[str, Tensor]]): These three by file.

    Raises:
        CheckpointError: If a file is missing or cannot be read.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.manifest = AdapterManifest.read(self.folder / MANIFEST_FILE)
        self.settings = self._read_settings()
        self.parts = {name: self._read(name) for name in (ADAPTER_FILE, ROWS_FILE, START_FILE)}
        self.matrices, self.rows, self.start_rows = self.parts.values()

    def tensors(self) -> dict[str, Tensor]:
        """All tensors of the folder, under keys that name their file."""
        return _all_tensors(self.parts)

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
            raise CheckpointError(
                f'{path} is no readable safetensors file: {reason_of(error)}.'
            ) from error


def _all_tensors(parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {f'{file}: {key}': each for file, part in parts.items() for key, each in part.items()}


_FILES = (ADAPTER_FILE, CONFIG_FILE, MANIFEST_FILE, ROWS_FILE, START_FILE, 'README.md')


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
        """Write the newest adapter of a swapper; its folder is there whole or not at all.

        In a folder that holds other files, too, these stay, and an adapter without its manifest
        is one that was not written to its end.

        Args:
            swapper (nn.Module): A :class:`KnowledgeSwapper`.
            class_roles (dict | None): The classes of each role.
            history (list[dict] | None): What each phase did.
        """
        parts = {name: on_cpu(tensors) for name, tensors in _parts(swapper).items()}
        manifest = AdapterManifest(
            **_settings(swapper),
            class_rows={name: list(rows.shape) for name, rows in parts[ROWS_FILE].items()},
            class_roles=class_roles or {},
            history=history or [],
        )
        manifest.adapter_sha256 = manifest.hash_of(_all_tensors(parts))
        config = adapter_config(swapper.host, swapper.adapter_name)
        with self._place() as folder:
            for name, tensors in parts.items():
                write_safetensors(folder / name, tensors)
            settings = _as_peft_writes(config)
            write_atomic(folder / CONFIG_FILE, lambda file: file.write(settings))
            manifest.write(folder / MANIFEST_FILE)

    @contextmanager
    def _place(self) -> Iterator[Path]:
        there = {path.name for path in self.folder.iterdir()} if self.folder.is_dir() else set()
        if there <= set(_FILES):
            with write_folder(self.folder) as folder:
                yield folder
            return
        (self.folder / MANIFEST_FILE).unlink(missing_ok=True)
        yield self.folder

    def load(self, swapper: nn.Module) -> AdapterManifest:
        """Read an adapter into a swapper of the same config that already holds the base weights.

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
        parts, classes = _parts(swapper), swapper.class_rows
        for file, wanted in parts.items():
            found = tensor_problems(contents.parts[file], wanted)
            problems += [f'{file}: {problem}' for problem in found]
        start = parts[START_FILE]
        layouts = {tensor.name: tensor.layout for tensor in classes.tensors}
        same = [n for n in start if n in contents.start_rows]
        same = [n for n in same if contents.start_rows[n].shape == start[n].shape]
        problems += value_problems(
            {n: layouts[n].old_part(contents.start_rows[n], classes.old) for n in same},
            {n: layouts[n].old_part(start[n], classes.old) for n in same},
            'has other rows in the model than those with which the swap of the adapter began',
        )
        return list(dict.fromkeys(problems + contents.problems()))


def class_rows(swapper: nn.Module) -> dict[str, Tensor]:
    """The class-indexed tensors of a swapper's host, as they are now."""
    state = swapper.host.state_dict()
    return {tensor.name: state[tensor.name] for tensor in swapper.class_rows.tensors}


def _parts(swapper: nn.Module) -> dict[str, dict[str, Tensor]]:
    return {
        ADAPTER_FILE: adapter_matrices(swapper.host, swapper.adapter_name),
        ROWS_FILE: class_rows(swapper),
        START_FILE: swapper.start_rows.tensors(),
    }


def base_hash_of(state: dict[str, Tensor], class_tensors: Collection[str]) -> str:
    """Hash of the weights that a swap leaves alone: no adapter, no class-indexed tensor."""
    frozen = {plain_key(k): v for k, v in state.items() if not is_adapter_key(k)}
    return hash_tensors({k: v for k, v in frozen.items() if k not in class_tensors})


def _settings(swapper: nn.Module) -> dict[str, Any]:
    """The fields of the manifest that a model must share with an adapter."""
    config = adapter_config(swapper.host, swapper.adapter_name)
    layers = lora_layers(swapper.host)
    return dict(
        base_sha256=base_hash_of(swapper.host.state_dict(), list(class_rows(swapper))),
        parents=swapper.stack.hashes,
        targets=[name for name, layer in layers if swapper.adapter_name in layer.lora_A],
        rank=config.r,
        alpha=config.lora_alpha,
        old_classes=swapper.class_rows.old,
        total_classes=swapper.class_rows.total,
        class_layouts={
            tensor.name: tensor.layout.to_list()
            for tensor in swapper.class_rows.tensors
            if tensor.layout != RowLayout(after=tensor.tail)
        },
    )


def _as_peft_writes(config: Any) -> bytes:
    """The bytes of ``adapter_config.json``, which peft gives to folders only."""
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        return (Path(folder) / CONFIG_FILE).read_bytes()


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 120 else f'{shown[:117]}...'


_COLUMNS = ('phase', 'kind', 'iterations', 'weights', 'bound', 'seed', 'groups', 'metrics')


def describe_adapter(contents: AdapterContents) -> str:
    """Lines of text: what an adapter is, what it lies on, and a Markdown table of its phases."""
    manifest = contents.manifest
    size = sum(tensor.numel() for tensor in contents.matrices.values())
    head = {
        'folder': contents.folder,
        'format': manifest.format,
        'base': manifest.base_sha256[:12],
        'adapter': manifest.adapter_sha256[:12],
        'lies on': ', '.join(parent[:12] for parent in manifest.parents) or 'the base',
        'LoRA': f'{len(manifest.targets)} linear layers, rank {manifest.rank}, '
        f'alpha {manifest.alpha:g}, {size:,} parameters',
        'classes': f'{manifest.old_classes} before, {manifest.total_classes} after',
        **{role: ', '.join(names) or '-' for role, names in manifest.class_roles.items()},
        'written by': ', '.join(f'{name} {found}' for name, found in manifest.versions.items()),
        'contents': '; '.join(contents.problems()) or 'whole',
    }
    lines = [f'{name:<11} {value}' for name, value in head.items()]
    if manifest.history:
        lines += ['', markdown_table(_COLUMNS, map(_row, manifest.history), aligned=True)]
        lines += ['', 'groups: smallest / mean / largest norm of the blocks, (n below 1 %)']
    return '\n'.join(lines)


def _row(entry: Mapping[str, Any]) -> list[str]:
    groups, bound = entry['groups'], entry['bound']
    norms = ' / '.join(f'{groups[name]:.3g}' for name in ('smallest', 'mean', 'largest'))
    metrics = ', '.join(f'{role} {value:.1f}' for role, value in entry['metrics'].items())
    weights = ', '.join(f'{name} {value:g}' for name, value in entry['weights'].items() if value)
    return [
        str(entry['name']),
        str(entry['kind']),
        str(entry['iterations']),
        weights,
        '-' if bound is None else f'{bound:g}',
        str(entry['seed']),
        f'{norms} ({groups["small"]} of {groups["number"]})',
        f'{entry["metric"]}: {metrics}' if metrics else 'not measured',
    ]
