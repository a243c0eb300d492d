"""Writes generated folders: all of one or nothing, and only when it is not there yet."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

MANIFEST = 'manifest.json'
#: In an unfinished tree: what was asked for.
REQUEST = '.request.json'
#: Number of files of each folder, and other files.
Expected = tuple[Mapping[str, int], Iterable[str]]


def load_manifest(root: Path) -> dict | None:
    """The manifest of a tree that this module wrote, whatever became of the tree since."""
    try:
        manifest = json.loads((root / MANIFEST).read_text())
    except (OSError, ValueError):
        return None
    known = isinstance(manifest, dict) and {'request', 'counts'} <= set(manifest)
    return manifest if known and isinstance(manifest['counts'], dict) else None


def read_whole(root: str | Path, expect: Callable[[dict], Expected]) -> dict | None:
    """The manifest of a tree that has all it had when it was written, else None.

    Args:
        root (str | Path): The folder.
        expect (Callable): Tells from the manifest's counts how many files each folder holds, and
            which other files there must be.
    """
    root = Path(root)
    manifest = load_manifest(root)
    if manifest is None:
        return None
    try:
        folders, files = expect(manifest['counts'])
        whole = all((root / file).stat() for file in files) and all(
            sum(1 for _ in (root / folder).iterdir()) == count for folder, count in folders.items()
        )
    except OSError:
        return None
    return manifest if whole else None


def write_tree(
    root: str | Path,
    request: Mapping[str, Any],
    build: Callable[[Path], Mapping[str, Any]],
    read_manifest: Callable[[Path], dict | None],
    resume: bool = False,
) -> bool:
    """Write a tree beside its place and rename it at the end, so that one with a manifest is whole.

    One process at a time may write a root.

    Args:
        root (str | Path): The folder to write.
        request (Mapping): What defines the tree, as plain json values. A finished tree of the
            same request is left alone.
        build (Callable): Writes the tree into the folder it is given and returns the counts by
            which ``read_manifest`` sees later whether the tree is whole.
        read_manifest (Callable): Returns the manifest of a finished tree, else None.
        resume (bool): Whether ``build`` goes on with what an earlier one of the same request left
            when it was stopped. Otherwise it gets an empty folder.

    Returns:
        bool: True if the tree was written, False if it was there already.

    Raises:
        FileExistsError: If the folder holds something that was not written by this function.
    """
    root = Path(root).resolve()
    wanted = json.loads(json.dumps(request))
    manifest = read_manifest(root)
    if manifest is not None and manifest['request'] == wanted:
        return False
    if root.exists() and (not root.is_dir() or any(root.iterdir())) and not load_manifest(root):
        raise FileExistsError(
            f'{root} holds something that this tool did not write (it has no '
            f'{MANIFEST} of ours); move it or choose another folder (`--out`).'
        )
    partial, old = (root.with_name(f'.{root.name}.{word}') for word in ('partial', 'old'))
    started = partial / REQUEST
    if not (resume and _same(started, wanted)):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        started.write_text(json.dumps(wanted))
    counts = build(partial)
    started.unlink()
    text = json.dumps(dict(request=wanted, counts=counts), indent=2)
    (partial / MANIFEST).write_text(text + '\n')
    shutil.rmtree(old, ignore_errors=True)
    if root.exists():
        root.rename(old)
    partial.rename(root)
    shutil.rmtree(old, ignore_errors=True)
    return True


def _same(started: Path, wanted: dict) -> bool:
    try:
        return json.loads(started.read_text()) == wanted
    except (OSError, ValueError):
        return False
