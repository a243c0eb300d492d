"""A folder that is there whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    out = out.absolute()
    # Unique: in containers, two processes may have the same number.
    partial = out.with_name(f'.{out.name}.{uuid.uuid4().hex[:12]}.partial')
    partial.mkdir(parents=True)
    try:
        yield partial
        refuse_existing(out, key)
        os.rename(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def refuse_existing(out: Path, key: str) -> None:
    """Raise if a folder is there already.

    Raises:
        ConfigError: Names the option.
    """
    if out.exists() or out.is_symlink():
        raise ConfigError(key, str(out), 'is there already', 'give a new folder')
