"""A folder that is there whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from knowswap_mm.engine.atomic_folder import write_folder
from knowswap_mm.errors import ConfigError


@contextmanager
def new_folder(out: Path, key: str) -> Iterator[Path]:
    """Give a folder beside ``out`` to write to, which becomes ``out`` at the end of the block.

    Args:
        out (Path): The folder to be; it must not exist.
        key (str): Option that names it, for messages.

    Raises:
        ConfigError: If it exists.
    """
    refuse_existing(out, key)
    with write_folder(out, replace=False) as folder:
        yield folder
        refuse_existing(out, key)


def refuse_existing(out: Path, key: str) -> None:
    """Raise if a folder is there already.

    Raises:
        ConfigError: Names the option.
    """
    if out.exists() or out.is_symlink():
        raise ConfigError(key, str(out), 'is there already', 'give a new folder')
