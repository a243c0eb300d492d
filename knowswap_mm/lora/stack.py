"""Adapters of earlier swaps beneath the one that trains."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from knowswap_mm.errors import CheckpointError, ConfigError
from knowswap_mm.lora.adapter import START_FILE, AdapterContents, base_hash_of
from knowswap_mm.lora.injector import LoRAInjector, adapter_parameters
from knowswap_mm.lora.row_layout import RowLayout
from knowswap_mm.lora.tensors import (
    adapter_matrices,
    is_adapter_key,
    tensor_problems,
    value_problems,
)


class AdapterStack:
    """The adapters of earlier swaps: frozen, active, each with the settings of its own file.

    Each folder names the adapters beneath it by their hashes, and begins with the class rows with
    which the one before ended; both are checked, as is the base when it is loaded.

    Args:
        folders (Sequence[str | Path]): Folders of adapters, the oldest first; may be empty.

    Attributes:
        contents (list[AdapterContents]): What is in the folders.

    Raises:
        ConfigError: If ``folders`` is no list of paths.
        CheckpointError: If a folder cannot be read, or they do not follow one another; it lists
            everything that is wrong.
    """

    def __init__(self, folders: Sequence[str | Path] = ()) -> None:
        listed = isinstance(folders, (list, tuple))
        if not listed or not all(isinstance(folder, (str, Path)) for folder in folders):
            fix = "write e.g. ['work_dirs/swap1/adapter']"
            raise ConfigError('model.adapters', folders, 'not a list of folders', fix)
        self.contents = [AdapterContents(folder) for folder in folders]
        self._raise([problem for i in range(len(self)) for problem in self._links(i)])

    def __len__(self) -> int:
        return len(self.contents)

    @property
    def names(self) -> list[str]:
        """Names in the model: ``swap1``, ``swap2`` and so on."""
        return [f'swap{i + 1}' for i in range(len(self))]

    @property
    def hashes(self) -> list[str]:
        """The hash of each adapter: what an adapter above them calls its parents."""
        return [each.manifest.adapter_sha256 for each in self.contents]

    @property
    def classes(self) -> int | None:
        """Class rows that the newest of them ended with; None for an empty stack."""
        return self.contents[-1].manifest.total_classes if self.contents else None

    @property
    def rows(self) -> dict[str, Tensor]:
        """Class-indexed tensors with which the newest of them ended."""
        return self.contents[-1].rows if self.contents else {}

    def base_rows(self) -> dict[str, Tensor]:
        """Class-indexed tensors of the base checkpoint; empty for an empty stack."""
        return self.contents[0].old_start_rows() if self.contents else {}

    def inject(self, model: nn.Module) -> None:
        """Put the adapters into a host without any and fill them in.

        Raises:
            CheckpointError: If a target or a matrix does not fit the host.
        """
        modules = dict(model.named_modules())
        problems = []
        for each in self.contents:
            missing = [target for target in each.manifest.targets if target not in modules]
            problems += [f'{each.folder}: the host has no {target}' for target in missing]
        self._raise(problems)
        for name, each in zip(self.names, self.contents, strict=True):
            manifest = each.manifest
            targets = '|'.join(re.escape(target) for target in manifest.targets)
            settings = dict(rank=manifest.rank, alpha=manifest.alpha, adapter_name=name)
            LoRAInjector(targets, **settings).inject(model)
            problems = tensor_problems(each.matrices, adapter_matrices(model, name))
            self._raise([f'{each.folder}: {problem}' for problem in problems])
            with torch.no_grad():
                for key, matrix in adapter_parameters(model, name).items():
                    matrix.copy_(each.matrices[key.removesuffix(f'.{name}.weight') + '.weight'])

    def check_rows(self, layouts: Mapping[str, RowLayout], old: int) -> None:
        """Compare the class rows that the newest adapter ended with to those of the model.

        Raises:
            ConfigError: If ``model.head.old_classes`` is another number.
            CheckpointError: If other tensors are class-indexed.
        """
        if not self.contents:
            return
        if old != self.classes:
            fix = f'set it to {self.classes}, or leave it out'
            problem = f'{self.contents[-1].folder} ended with {self.classes} classes'
            raise ConfigError('model.head.old_classes', old, problem, fix)
        last = self.contents[-1]
        problems = [f'missing class rows {name}' for name in layouts if name not in last.rows]
        problems += [f'unexpected class rows {name}' for name in last.rows if name not in layouts]
        for name in set(layouts) & set(last.rows):
            found = last.manifest.layout_of(name, last.rows[name])
            if found != layouts[name]:
                problems.append(f'{name} has its rows in the order {found}, not {layouts[name]}')
        self._raise([f'{last.folder}: {problem}' for problem in problems])

    def check_base(self, host: dict[str, Tensor]) -> None:
        """Compare the weights that are about to be loaded with those that the adapters belong to.

        Args:
            host (dict[str, Tensor]): State dict of the host: a base checkpoint, or a checkpoint of
                a swap with these adapters beneath it.

        Raises:
            CheckpointError: If the base or one of the adapters in it differs; it lists all.
        """
        if not self.contents:
            return
        problems = []
        found = base_hash_of(host, list(self.rows))
        for each in self.contents:
            if each.manifest.base_sha256 != found:
                wanted = each.manifest.base_sha256
                problems.append(f"{each.folder}: 'base_sha256' is {wanted}, the base has {found}")
        if not any(is_adapter_key(key) for key in host):
            rows = {key: host[key] for key in self.rows if key in host}
            wanted, whole = self.base_rows(), self.contents[0].start_rows
            for key in rows:  # a base may have rows for the new classes, too
                if key in whole and rows[key].shape == whole[key].shape:
                    wanted[key] = whole[key]
            problems += tensor_problems(rows, wanted, finite=False)
            text = 'of the base is not what the first swap began with'
            problems += value_problems(rows, wanted, text)
        for name, each in zip(self.names, self.contents, strict=True):
            inside = {
                key.replace(f'.{name}.weight', '.weight'): value
                for key, value in host.items()
                if is_adapter_key(key) and key.endswith(f'.{name}.weight')
            }
            text = f'of the checkpoint is not that of {each.folder}'
            problems += value_problems(inside, each.matrices, text)
        self._raise(problems)

    def _links(self, index: int) -> list[str]:
        """What is wrong with one adapter in itself and after the one before."""
        each = self.contents[index]
        problems = each.problems()
        parents, beneath = each.manifest.parents, self.hashes[:index]
        if parents != beneath:
            problems.append(
                f"'parents' are {_heads(parents)}, but the adapters beneath are {_heads(beneath)}"
            )
        if each.manifest.base_sha256 != self.contents[0].manifest.base_sha256:
            problems.append("'base_sha256' is another one than that of the first adapter")
        if index and not problems:
            before = self.contents[index - 1]
            began = each.old_start_rows()
            problems += [f'{START_FILE}: {p}' for p in tensor_problems(began, before.rows)]
            text = f'is not what {before.folder} ended with'
            problems += value_problems(began, before.rows, text)
        return [f'{each.folder}: {problem}' for problem in problems]

    @staticmethod
    def _raise(problems: list[str]) -> None:
        if problems:
            raise CheckpointError(
                f'The adapters beneath cannot be used: {"; ".join(problems)}. Fix: list in '
                'model.adapters all adapters since the base, the oldest first, and load the base '
                'checkpoint that the first was made from.'
            )


def _heads(hashes: Sequence[str]) -> list[str]:
    return [str(each)[:12] for each in hashes]
