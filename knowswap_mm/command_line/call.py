"""Commands that call other commands, each in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path


def command_of(name: str, *arguments: str | Path) -> list[str]:
    """What starts a command of ``knowswap`` with this Python, wherever it is installed."""
    return [sys.executable, '-m', 'knowswap_mm', name, *map(str, arguments)]
