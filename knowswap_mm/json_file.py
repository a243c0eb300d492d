"""Reading json that somebody else may have written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from knowswap_mm.errors import FileError
from knowswap_mm.limits import JSON_BYTES, limit_of

#: Objects and lists within one another; no file of ours needs more than ten.
_DEPTH = 100


def read_json(path: str | os.PathLike, limit: str = JSON_BYTES, fallback: str | None = None) -> Any:
    """Read a json file.

    Args:
        path (str | PathLike): The file.
        limit (str): Which limit of :mod:`knowswap_mm.limits` holds for its size.
        fallback (str | None): Encoding of a file that is in no Unicode encoding.

    Returns:
        What it holds.

    Raises:
        FileError: If it is missing, no regular file, cannot be read, too large, too deeply nested,
            or no json.
    """
    content = read_bytes(path, limit)
    try:
        value = json.loads(_text(content, fallback))
        _check_depth(value)
    except RecursionError:
        raise FileError(
            path, f'is no json (nested more than {_DEPTH} deep)', 'write it again'
        ) from None
    except ValueError as error:  # no json, no text, or a number of thousands of digits
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FileError(path, f'is no json ({reason})', 'write or download it again') from None
    return value


def read_bytes(path: str | os.PathLike, limit: str = JSON_BYTES) -> bytes:
    """Read a file of limited size.

    Args:
        path (str | PathLike): The file.
        limit (str): Which limit of :mod:`knowswap_mm.limits` holds for its size.

    Returns:
        bytes: Its contents.

    Raises:
        FileError: If it is missing, no regular file, cannot be read or is too large.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise FileError(path, 'is not there', 'mend the path')
        if not path.is_file():
            raise FileError(path, 'is no file', 'give the path of a file')
        allowed = limit_of(limit)
        # The size is asked for as it is read: a file may grow, and some have no size (/proc).
        with path.open('rb') as file:
            content = file.read(allowed + 1)
    except (OSError, ValueError) as error:  # a path may hold a zero byte
        if isinstance(error, FileError):
            raise
        reason = getattr(error, 'strerror', None) or error
        raise FileError(path, f'cannot be read ({reason})', 'mend the path or the rights') from None
    if len(content) > allowed:
        fix = f'check where it comes from; if it is right, set {limit} to a larger number'
        raise FileError(path, f'has more than {allowed} bytes', fix)
    return content


def _text(content: bytes, fallback: str | None) -> str:
    try:
        return content.decode(json.detect_encoding(content))
    except UnicodeDecodeError:
        if fallback is None:
            raise
        return content.decode(fallback)


def _check_depth(value: Any) -> None:
    """Raise RecursionError at what our own code could not walk through."""
    layer = [value] if isinstance(value, (dict, list)) else []
    for _ in range(_DEPTH):
        layer = [
            child
            for each in layer
            for child in (each.values() if isinstance(each, dict) else each)
            if isinstance(child, (dict, list))
        ]
        if not layer:
            return
    raise RecursionError
