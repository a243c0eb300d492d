"""Reading json and lists of names that somebody else may have written."""

from __future__ import annotations

import codecs
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from knowswap_mm.errors import ConfigError, FileError
from knowswap_mm.io.files import write_text

#: Bytes of a small json file: class lists, manifests, schedules, results.
JSON_BYTES = 'KNOWSWAP_MM_MAX_JSON_BYTES'
#: Bytes of a json file with the annotations of a data set.
ANNOTATION_BYTES = 'KNOWSWAP_MM_MAX_ANNOTATION_BYTES'
#: Pixels of an image; the default is the number at which Pillow refuses one, too.
PIXELS = 'KNOWSWAP_MM_MAX_PIXELS'
_DEFAULTS = {JSON_BYTES: 64 << 20, ANNOTATION_BYTES: 4 << 30, PIXELS: 178_956_970}


def limit_of(name: str) -> int:
    """A limit (bytes or pixels) that holds now, by one of the names above.

    Raises:
        ConfigError: If the environment variable is no integer above 0.
    """
    given = os.environ.get(name)
    if given is None:
        return _DEFAULTS[name]
    if not given.isascii() or not given.isdigit() or int(given[:20]) < 1:
        fix = f'e.g. {_DEFAULTS[name]}, or leave it unset'
        raise ConfigError(name, given, 'no integer above 0', fix)
    return int(given[:20])


#: Objects and lists within one another; no file of ours needs more than ten.
_DEPTH = 100
_WIDE_MARKS = {
    'UTF-32': codecs.BOM_UTF32_LE,
    'UTF-32 (big endian)': codecs.BOM_UTF32_BE,
    'UTF-16': codecs.BOM_UTF16_LE,  # after UTF-32, whose mark begins alike
    'UTF-16 (big endian)': codecs.BOM_UTF16_BE,
}


def read_json(path: str | os.PathLike, limit: str = JSON_BYTES, fallback: str | None = None) -> Any:
    """Read a json file.

    The ``limit`` of its size is one of the names above; ``fallback`` is the encoding of a file that
    is in no Unicode encoding.

    Raises:
        FileError: If it is missing, no regular file, cannot be read, too large, too deeply nested,
            or no json.
    """
    content = read_bytes(path, limit)
    try:
        value = json.loads(_text(content, fallback))
        _check_depth(value)
    except RecursionError:
        problem = f'is no json (nested more than {_DEPTH} deep)'
        raise FileError(path, problem, 'write it again') from None
    except ValueError as error:  # no json, no text, or a number of thousands of digits
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FileError(path, f'is no json ({reason})', 'write or download it again') from None
    return value


def read_bytes(path: str | os.PathLike, limit: str = JSON_BYTES) -> bytes:
    """Read a file of limited size; the ``limit`` is one of the names above.

    Raises:
        FileError: If it is missing, no regular file, cannot be read or is too large.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise FileError(path, 'is not there', 'fix the path')
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
        raise FileError(path, f'cannot be read ({reason})', 'fix the path or the rights') from None
    if len(content) > allowed:
        fix = f'check where it comes from; if it is right, set {limit} to a larger number'
        raise FileError(path, f'has more than {allowed} bytes', fix)
    return content


def read_text(path: str | os.PathLike, limit: str = JSON_BYTES) -> str:
    """Read a text file in UTF-8; a byte order mark at its beginning is no part of the text.

    Raises:
        FileError: If it cannot be read, is in another encoding, or holds a zero byte.
    """
    content = read_bytes(path, limit)
    for encoding, mark in _WIDE_MARKS.items():
        if content.startswith(mark):
            raise FileError(path, f'is text in {encoding}', 'save it as UTF-8')
    try:
        text = content.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b'\n') + 1
        raise FileError(path, f'is no text in UTF-8 (line {line})', 'save it as UTF-8') from None
    if '\0' in text:
        raise FileError(path, 'is no text: it holds a zero byte', 'save it as UTF-8')
    return text


def split_lines(text: str) -> list[str]:
    """Lines of a text, ended as Unix, Windows or old Macs do.

    :meth:`str.splitlines` would also end a line within names that hold e.g. U+2028.
    """
    return re.split('\r\n|\n|\r', text)


def read_lines(path: str | os.PathLike, limit: str = JSON_BYTES) -> list[str]:
    """Read a list of names or of rows: the one reader of every list that a user gives.

    Spaces around a line are no part of it; empty lines do not count, nor do comments: lines that
    begin with ``# ``, and ``#`` alone. ``C#`` and ``#1`` are names (issue 24).

    Raises:
        FileError: See :func:`read_text`.
    """
    return lines_of(read_text(path, limit))


def lines_of(text: str) -> list[str]:
    """What :func:`read_lines` makes of a text."""
    lines = (line.strip() for line in split_lines(text.removeprefix('\ufeff')))
    return [line for line in lines if line and line != '#' and not line.startswith('# ')]


def line_problem(line: str) -> str | None:
    """Why a name would not come back from a list of names, to stand behind it; None if it would."""
    found = lines_of(line)
    if found == [line] and not {'\0', '\ufeff'} & set(line):
        return None
    if line.strip() != line or not line:
        return 'is empty' if not line else 'has spaces at an end'
    return 'would pass for a comment' if not found else 'holds a byte that ends or marks a line'


def write_lines(path: str | os.PathLike, lines: Sequence[str]) -> None:
    """Write a list of names or rows, one a line, as :func:`read_lines` reads it.

    Raises:
        FileError: If a line would not be read back as it is: it is empty, begins with ``# `` or a
            byte order mark, has spaces around it, or holds the end of a line.
    """
    path = Path(path)
    for line in lines:
        if problem := line_problem(line):
            raise FileError(path, f'cannot hold {line!r:.120}: it {problem}', 'rename it')
    write_text(path, ''.join(f'{line}\n' for line in lines))


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
