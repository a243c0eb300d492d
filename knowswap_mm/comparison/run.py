"""One training of a comparison."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """One training: a named config with overrides, and a seed."""

    name: str
    config: str
    options: tuple[str, ...]
    seed: int

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return f'{re.sub(r"[^A-Za-z0-9.,_-]+", "_", self.name)}_seed{self.seed}'
