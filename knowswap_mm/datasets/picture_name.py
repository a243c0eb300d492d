"""Names of files that a list gives."""

from __future__ import annotations

from pathlib import PurePosixPath


def name_problem(name: str) -> str | None:
    """Why a name in a list must not be joined to a folder.

    Args:
        name (str): The name of a picture, or a relative path to it.

    Returns:
        str | None: The end of a sentence that begins with the name; None if it stays in the folder.
    """
    if not name or '\0' in name:
        return 'is no name'
    if '://' in name:
        return 'is an address'
    if name.startswith('/'):
        return 'is an absolute path'
    if '..' in PurePosixPath(name).parts:
        return 'leads out of the folder'
    return None
