"""What an adapter file says about itself."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from knowswap_mm.errors import CheckpointError, FileError
from knowswap_mm.io.files import write_json
from knowswap_mm.io.text_files import read_json
from knowswap_mm.lora.row_layout import RowLayout


def manifest_problems(data: Mapping[str, Any]) -> list[str]:
    """A line for each field of a whole manifest whose value is not of the kind it should be."""
    problems = [
        f'{name!r} is {_shown(data[name])}, no {what}'
        for name, (what, fits) in _FIELDS.items()
        if not fits(data[name])
    ]
    old, total = data['old_classes'], data['total_classes']
    if _is_count(old) and _is_count(total) and old > total:
        problems.append(f"'old_classes' is {old}, more than 'total_classes', {total}")
    return problems


def _shown(value: Any) -> str:
    shown = f'{value!r:.60}' if isinstance(value, (str, int, float)) else type(value).__name__
    return f'a {shown}' if shown.isidentifier() else shown


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value < 2**31


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)


def _is_classes(value: Any) -> bool:
    return value is None or _is_count(value)


def _list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(fits, value))


def _dict_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(fits, value.values()))


def _is_phase(value: Any) -> bool:
    """An entry of the history, as far as a report reads it."""
    return (
        isinstance(value, dict)
        and {'name', 'kind', 'iterations', 'seed', 'metric'} <= set(value)
        and _dict_of(_is_metric)(value.get('groups'))
        and {'smallest', 'mean', 'largest', 'small', 'number'} <= set(value['groups'])
        and (value.get('bound', '') is None or _is_number(value.get('bound')))
        and _dict_of(_is_metric)(value.get('metrics'))
        and _dict_of(_is_number)(value.get('weights'))
    )


def _is_layout(value: Any) -> bool:
    """Axis, groups, rows a class, rows before and after, see :class:`RowLayout`."""
    whole = isinstance(value, list) and len(value) == 5 and all(type(n) is int for n in value)
    return whole and all(0 <= n < 2**31 for n in value) and value[1] > 0 < value[2]


def _is_metric(value: Any) -> bool:
    """A figure; one that could not be measured is NaN."""
    return type(value) is float or (type(value) is int and abs(value) < 2**53)


_FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = dict(
    base_sha256=('text', _is_text),
    targets=('list of names', _list_of(_is_text)),
    rank=('integer above 0', _is_count),
    alpha=('finite number', _is_number),
    adapter_sha256=('text', _is_text),
    parents=('list of hashes', _list_of(_is_text)),
    class_rows=('shapes by name', _dict_of(_list_of(lambda size: type(size) is int and size >= 0))),
    class_layouts=('orders of rows by name', _dict_of(_is_layout)),
    class_roles=('lists of names by role', _dict_of(_list_of(_is_text))),
    old_classes=('number of classes', _is_classes),
    total_classes=('number of classes', _is_classes),
    history=('list of phases', _list_of(_is_phase)),
    format=('integer', lambda value: type(value) is int),
    versions=('texts by name', _dict_of(_is_text)),
)


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
        """The hash that :attr:`adapter_sha256` should be with all tensors in the folder."""
        names = ('base_sha256', 'parents', 'targets', 'rank', 'alpha', 'old_classes')
        settings = [getattr(self, name) for name in (*names, 'total_classes')]
        if self.class_layouts:  # without them as ever: older files keep their hash
            settings.append(sorted(self.class_layouts.items()))
        text = json.dumps([*settings, hash_tensors(tensors)])
        return hashlib.sha256(text.encode()).hexdigest()

    def layout_of(self, name: str, tensor: Tensor) -> RowLayout:
        """Where the classes of a whole class-indexed tensor, by its name in the host, lie."""
        if name in self.class_layouts:
            return RowLayout(*self.class_layouts[name])
        return RowLayout(after=max(len(tensor) - (self.total_classes or len(tensor)), 0))

    def write(self, path: Path) -> None:
        """Write the manifest as json, whole or not at all."""
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
                "the model, load the run's phase*.pth, and write the folder again with "
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
