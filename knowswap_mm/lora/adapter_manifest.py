"""What an adapter file says about itself."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from knowswap_mm.errors import CheckpointError, FileError
from knowswap_mm.json_file import read_json
from knowswap_mm.lora.manifest_check import manifest_problems
from knowswap_mm.lora.row_layout import RowLayout

FORMAT = 2
_PACKAGES = {
    'torch': 'torch',
    'peft': 'peft',
    'mmengine': 'onedl-mmengine',
    'knowswap_mm': 'knowswap_mm',
}


@dataclass
class AdapterManifest:
    """Manifest beside the tensors of an adapter.

    Attributes:
        base_sha256 (str): Hash of the frozen weights that the adapter belongs to.
        targets (list[str]): Modules with an adapter.
        rank (int): Rank r.
        alpha (float): Numerator of the scale.
        adapter_sha256 (str): Hash of this adapter: its base, those beneath it, and its tensors.
        parents (list[str]): ``adapter_sha256`` of the adapters beneath it, the oldest first.
        class_rows (dict[str, list[int]]): Shapes of the class-indexed tensors stored with it.
        class_layouts (dict[str, list[int]]): Orders of their rows (:class:`RowLayout`) where they
            are not those of an ordinary head; older files have none.
        class_roles (dict): The classes of each role; empty if unknown.
        old_classes (int | None): Rows of the head that are older than the swap.
        total_classes (int | None): Rows of the head with those that the swap added.
        history (list[dict]): What each phase did: see :class:`SwapHistory`.
        format (int): Version of the format.
        versions (dict[str, str]): Versions of the packages that wrote it.
    """

    base_sha256: str
    targets: list[str]
    rank: int
    alpha: float
    adapter_sha256: str = ''
    parents: list[str] = field(default_factory=list)
    class_rows: dict[str, list[int]] = field(default_factory=dict)
    class_layouts: dict[str, list[int]] = field(default_factory=dict)
    class_roles: dict[str, Any] = field(default_factory=dict)
    old_classes: int | None = None
    total_classes: int | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    format: int = FORMAT
    versions: dict[str, str] = field(default_factory=lambda: installed_versions())

    def hash_of(self, tensors: dict[str, Tensor]) -> str:
        """The hash that :attr:`adapter_sha256` should be.

        Args:
            tensors (dict[str, Tensor]): All tensors in the folder.
        """
        names = ('base_sha256', 'parents', 'targets', 'rank', 'alpha', 'old_classes')
        settings = [getattr(self, name) for name in (*names, 'total_classes')]
        if self.class_layouts:  # without them as ever: older files keep their hash
            settings.append(sorted(self.class_layouts.items()))
        text = json.dumps([*settings, hash_tensors(tensors)])
        return hashlib.sha256(text.encode()).hexdigest()

    def layout_of(self, name: str, tensor: Tensor) -> RowLayout:
        """Where the classes of a class-indexed tensor of this adapter lie.

        Args:
            name (str): Its name in the host.
            tensor (Tensor): The whole tensor.
        """
        if name in self.class_layouts:
            return RowLayout(*self.class_layouts[name])
        return RowLayout(behind=max(len(tensor) - (self.total_classes or len(tensor)), 0))

    def write(self, path: Path) -> None:
        """Write the manifest as json, whole or not at all."""
        from knowswap_mm.engine.atomic_file import write_json  # only now: the engine imports this

        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> AdapterManifest:
        """Read a manifest.

        Raises:
            CheckpointError: If the file is missing, broken or of another format.
        """
        try:
            data = read_json(path)
        except FileError as error:
            raise CheckpointError(f'The adapter manifest cannot be read: {error}') from error
        if isinstance(data, dict) and data.get('format', FORMAT) != FORMAT:
            raise CheckpointError(
                f'{path} has format {data["format"]!r}, this version reads {FORMAT}. Fix: build '
                "the model, load the run's phase*.pth, and write the folder anew with "
                'AdapterFile(folder).save(model).'
            )
        names = {f.name for f in fields(cls)}
        if isinstance(data, dict):
            data.setdefault('class_layouts', {})
        if not isinstance(data, dict) or set(data) != names:
            found = sorted(data) if isinstance(data, dict) else type(data).__name__
            raise CheckpointError(f'{path} should hold {sorted(names)}, but holds {found}.')
        if wrong := manifest_problems(data):
            raise CheckpointError(f'{path} holds values of other types: {", ".join(wrong[:8])}.')
        return cls(**data)


def installed_versions() -> dict[str, str]:
    """Versions of the packages that shape an adapter."""
    found = {}
    for name, distribution in _PACKAGES.items():
        try:
            found[name] = version(distribution)
        except PackageNotFoundError:
            found[name] = 'not installed'
    return found


def hash_tensors(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of tensors, independent of their order."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f'{name}:{tensor.dtype}:{tuple(tensor.shape)};'.encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
