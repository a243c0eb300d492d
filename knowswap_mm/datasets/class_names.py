"""Class lists as users give them: names, a file of names, or the classes of a data set."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence

from knowswap_mm.errors import ConfigError, FileError
from knowswap_mm.json_file import read_json, read_lines
from knowswap_mm.value_checks import nearest_name

MARK = '\ufeff'


def read_class_names(key: str, value: str | Sequence[str] | None) -> list[str] | None:
    """Read a class list.

    Args:
        key (str): Config key, for messages.
        value (str | Sequence[str] | None): Names, or the path of a ``.txt`` file (one name a line;
            a line that begins with ``# `` is a comment) or a ``.json`` file (a list), or None.

    Returns:
        list[str] | None: The names in Unicode's composed form (NFC), None for None.

    Raises:
        ConfigError: If the file is missing or broken, or a name occurs twice.
    """
    if value is None:
        return None
    if not isinstance(value, (str, list, tuple)):
        fix = "write e.g. ['cat', 'dog'] or the path of a file of names"
        raise ConfigError(key, value, 'not a list of class names', fix)
    names = _read_file(key, value) if isinstance(value, str) else list(value)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ConfigError(key, value, 'not a list of class names', "e.g. ['cat', 'dog']")
    names = [composed(name) for name in names]
    if marked := [name for name in names if MARK in name]:
        problem = f'a byte order mark is no part of a name: {marked[0]!r}'
        raise ConfigError(key, value, problem, 'take it out, or save the file again as UTF-8')
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(key, value, f'class {twice!r} is listed twice', 'list it once')
    return names


def _read_file(key: str, path: str) -> list[str]:
    if '\0' in path or not os.path.isfile(path):
        fix = 'give a list of names, or the path of an existing .txt or .json file of names'
        raise ConfigError(key, path, 'no such file', fix)
    try:
        if path.lower().endswith('.json'):
            names = read_json(path)
        else:
            names = read_lines(path)
    except FileError as error:
        raise ConfigError(
            key, path, f'cannot be read as text or json (it {error.problem})', error.fix
        ) from None
    if not isinstance(names, list):
        raise ConfigError(key, path, 'holds no list', 'write a json list of names')
    return names


def composed(name: str) -> str:
    """A name in Unicode's composed form: some systems store ``é`` as two characters (NFD).

    Args:
        name (str): The name.
    """
    return unicodedata.normalize('NFC', name)


def check_known(key: str, names: Sequence[str], known: Sequence[str], where: str) -> None:
    """Raise if a name is not among the known ones.

    Args:
        key (str): Config key, for the message.
        names (Sequence[str]): Names to look up.
        known (Sequence[str]): Allowed names.
        where (str): What the allowed names belong to, e.g. ``the old classes``.

    Raises:
        ConfigError: Names the first unknown class and the nearest known ones.
    """
    lookup = set(known)
    for name in names:
        if name not in lookup:
            near = nearest_name(name, known, 3) or list(known)[:5]
            raise ConfigError(
                key, name, f'unknown class; it is not among {where}', f'did you mean one of {near}'
            )
