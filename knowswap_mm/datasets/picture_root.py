"""One folder for many picture paths."""

from __future__ import annotations

import os
from collections.abc import Sequence


def picture_root(paths: Sequence[str]) -> tuple[str, list[str]]:
    """Split paths into the folder that they share, as an absolute path, and what follows it.

    Args:
        paths (Sequence[str]): Paths, relative to the working directory or absolute; or addresses
            of a remote storage, which stay as they are.

    Returns:
        tuple[str, list[str]]: The folder, empty for addresses, and the paths within it.
    """
    if not paths or any('://' in path for path in paths):
        return '', list(paths)
    whole = [os.path.abspath(path) for path in paths]
    root = os.path.commonpath([os.path.dirname(path) for path in whole])
    return root, [os.path.relpath(path, root) for path in whole]


def absolute(path: str | None) -> str:
    """A folder as an absolute path; an address of a remote storage stays as it is."""
    path = path or ''
    return path if '://' in path else os.path.abspath(os.path.expanduser(path))
