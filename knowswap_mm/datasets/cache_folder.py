"""Where derived files are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(given: str | None = None) -> Path:
    """Folder for files that role views derive from their data; it may be removed at any time.

    Args:
        given (str | None): The folder of the config; by default ``$XDG_CACHE_HOME/knowswap_mm`` or
            ``~/.cache/knowswap_mm``.

    Returns:
        Path: The folder. It need not exist.
    """
    if given:
        return Path(given).resolve()
    default = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(default).resolve() / 'knowswap_mm'
