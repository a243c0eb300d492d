"""Which samples a run has, as hashes."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import numpy as np

from knowswap_mm.datasets.role_dataset import RoleDataset
from knowswap_mm.datasets.role_view import RoleView


def data_manifest(dataset: RoleDataset) -> dict[str, Any]:
    """Hash the list of samples of each role: names, annotations, labels of the swap, order.

    Paths are counted from the host data set's ``data_root``, so the place of the data does not
    matter. Pictures are named, not read: the hash of a folder whose pictures changed is the same.

    Args:
        dataset (RoleDataset): The data.

    Returns:
        dict: ``samples``, ``sha256`` and, where the task counts it, ``counts`` by role (see
        :class:`RoleCounts`), and ``sha256`` of all samples.
    """
    roles = {role: _of_view(view) for role, view in dataset.views.items()}
    text = json.dumps(roles, sort_keys=True)
    return dict(sha256=hashlib.sha256(text.encode()).hexdigest(), roles=roles)


def _of_view(view: RoleView) -> dict[str, Any]:
    root = os.path.abspath(getattr(view.host, 'data_root', None) or os.sep)
    digest = hashlib.sha256(json.dumps(sorted(view.labels.items())).encode())
    for position in range(len(view)):
        record = dict(view.host.get_data_info(view.host_index(position)))
        record.pop('sample_idx', None)  # its place among samples of other roles
        text = json.dumps(_plain(record, root), sort_keys=True, separators=(',', ':'))
        digest.update(text.encode() + b'\n')
    return dict(samples=len(view), sha256=digest.hexdigest())


def _plain(value: Any, root: str) -> Any:
    """Data that json can write, equal for equal samples wherever they lie."""
    if isinstance(value, dict):
        return {str(key): _plain(item, root) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, root) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist(), root)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (str, os.PathLike)):
        text = os.fspath(value)
        inside = os.sep in text and os.path.abspath(text).startswith(root + os.sep)
        return os.path.relpath(text, root) if inside else text
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return type(value).__name__
