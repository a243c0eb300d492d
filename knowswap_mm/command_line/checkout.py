"""The repository, for what is not installed with the package."""

from __future__ import annotations

from pathlib import Path

import knowswap_mm
from knowswap_mm.errors import SwapError

#: Without these a folder is no checkout.
_FOLDERS = ('configs/demo', 'tools/dataset_converters', 'weights')


def is_checkout(folder: Path) -> bool:
    """Tell whether a folder holds the repository."""
    return all((folder / name).is_dir() for name in _FOLDERS)


def find_checkout(purpose: str) -> Path:
    """Find the repository: the one that the package lies in, else the current folder.

    Args:
        purpose (str): What needs it, e.g. ``The demo``.

    Returns:
        Path: Its folder.

    Raises:
        SwapError: If neither is one.
    """
    for folder in (Path(knowswap_mm.__file__).resolve().parents[1], Path.cwd()):
        if is_checkout(folder):
            return folder
    raise SwapError(
        f'{purpose} needs the configs, the pretrained weights (weights/) and the data tools of the '
        'repository, which are not installed with the package, and the current folder '
        f'({Path.cwd()}) has none. Fix: clone the repository and run the command in its folder.'
    )
