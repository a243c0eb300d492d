"""What every acceleration has in common."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod

from torch import nn


class Acceleration(metaclass=ABCMeta):
    """One change that makes a host faster and leaves its numbers as they are, within a tolerance.

    A subclass is one file, registered in ``knowswap_mm.registry.ACCELERATIONS`` and named in
    ``model.accelerations``. It must leave the names of parameters and buffers, and what is saved,
    as they are; a deep copy of an accelerated host must work, and so must merging its adapters.
    """

    @abstractmethod
    def apply(self, host: nn.Module) -> int:
        """Change a host in place, after its adapters were injected.

        Args:
            host (nn.Module): The host with its adapters.

        Returns:
            int: Modules that were changed; 0 if the host has none that it fits.
        """
